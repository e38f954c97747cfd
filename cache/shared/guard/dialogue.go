package guard

import (
	"errors"
	"fmt"
	"net"
	"strings"
)

// maxEvents is the largest number of events of a sentinel on one connection. The library queues 16 and handles none of
// them while it queries the sentinels; with one more it would wait for itself. On a new connection it queries again.
const maxEvents = 16

// dialogue compares the frames from an engine with the commands sent on the connection. It counts replies as the
// library does, and is stricter where the library would panic. It is not safe for concurrent use.
type dialogue struct {
	addSentinel func(sentinel string) error // records a sentinel that the library will remember

	pending     []command
	started     bool // a command was written
	pubsub2     bool // the first command was not HELLO 3: the library uses the connection for subscriptions by RESP2
	subscribes  bool // SUBSCRIBE or UNSUBSCRIBE was written
	unconfirmed int  // channels of an answered SUBSCRIBE that are not yet confirmed
	pongDue     bool // UNSUBSCRIBE was answered by an error: the library has sent the PING after it
	events      int
}

// sent records a command.
func (d *dialogue) sent(c command) {
	if !d.started {
		d.started, d.pubsub2 = true, !c.resp3
	}
	d.subscribes = d.subscribes || c.expects == subscribed || c.expects == unsubscribed
	d.pending = append(d.pending, c)
}

// received checks a complete frame. keep is false for a frame that the library ignores.
func (d *dialogue) received(frame []byte) (keep bool, err error) {
	if frame[0] == '>' {
		return d.push(decode(frame))
	}
	if !d.pubsub2 || frame[0] != '*' && frame[0] != '~' && frame[0] != '%' {
		return true, d.reply(frame)
	}
	m := decode(frame)
	switch {
	case len(m.items) == 0, m.first() == "pong", len(d.pending) > 0 && d.pending[0].expects == helloReply:
		return true, d.reply(frame)
	case d.subscribes && isPush(m.first()):
		return d.push(m)
	}
	return false, errors.New("an array on a connection for subscriptions that is no message")
}

// isPush reports whether a word is the name of a push.
func isPush(word string) bool {
	switch word {
	case "message", "subscribe", "unsubscribe":
		return true
	}
	return false
}

// push checks a frame that is not a reply: a message, or the confirmation of a subscription.
func (d *dialogue) push(m message) (keep bool, err error) {
	if len(m.items) < 2 {
		return false, nil
	}
	switch m.first() {
	case "message":
		return d.publishedMessage(m.items[1:])
	case "subscribe":
		return true, d.confirmed()
	case "unsubscribe":
		if d.unconfirmed > 0 {
			return false, errors.New("a subscription that ends while it is confirmed")
		}
		return true, nil
	case "psubscribe", "ssubscribe", "punsubscribe", "sunsubscribe":
		return false, fmt.Errorf("a push %q that no command asked for", m.first())
	}
	return false, nil
}

// confirmed checks the confirmation of a subscription. The first one of a SUBSCRIBE is its reply.
func (d *dialogue) confirmed() error {
	if d.unconfirmed > 0 {
		d.unconfirmed--
		return nil
	}
	if len(d.pending) == 0 || d.pending[0].expects != subscribed {
		return errors.New("a subscription is confirmed that no command asked for")
	}
	d.unconfirmed = d.pop().channels - 1
	return nil
}

// publishedMessage checks a published message. The library splits those of a sentinel into words without counting them.
func (d *dialogue) publishedMessage(items []message) (keep bool, err error) {
	if len(items) < 2 || !items[0].isText() || !items[1].isText() {
		return false, errors.New("a published message without channel or text")
	}
	words := strings.Split(items[1].text, " ")
	least := 0
	switch items[0].text {
	default:
		return true, nil
	case "+slave", "+sdown", "-sdown":
		return false, nil // for clients that read from replicas
	case "+sentinel", "+reboot":
		least = 4
	case "+switch-master":
		least = 5
	}
	if len(words) < least {
		return false, fmt.Errorf("a sentinel's event %s of %d words", items[0].text, len(words))
	}
	if d.events++; d.events > maxEvents {
		return false, fmt.Errorf("more than %d events of a sentinel", maxEvents)
	}
	if items[0].text == "+sentinel" {
		return true, d.addSentinel(net.JoinHostPort(words[2], words[3]))
	}
	return true, nil
}

// pop removes and returns the first command without a reply.
func (d *dialogue) pop() command {
	c := d.pending[0]
	d.pending = d.pending[1:]
	return c
}

// reply checks the reply to a command.
func (d *dialogue) reply(frame []byte) error {
	if len(d.pending) == 0 {
		return errors.New("a reply that no command asked for")
	}
	c := d.pop()
	isError := frame[0] == '-' || frame[0] == '!'
	if c.expects == anything && !isError {
		return nil
	}
	m := decode(frame)
	if isError {
		if err := checkRedirect(m.text); err != nil {
			return err
		}
	}
	if d.pongDue {
		d.pongDue = false
		if c.expects != pong || !m.isPong() {
			return errors.New("the reply to PING after UNSUBSCRIBE is another")
		}
		return nil
	}
	return d.checkReply(c, m)
}

// checkRedirect checks that an error which names another node has its address.
func checkRedirect(text string) error {
	for prefix, least := range map[string]int{"MOVED": 3, "ASK": 3, "REDIRECT": 2} {
		if strings.HasPrefix(text, prefix) && strings.Count(text, " ")+1 < least {
			return fmt.Errorf("an error %s that does not say where to", prefix)
		}
	}
	return nil
}

// checkReply checks the replies whose form the library does not check.
func (d *dialogue) checkReply(c command, m message) error {
	switch c.expects {
	case subscribed:
		if !m.isError() || m.text == "QUEUED" {
			return errors.New("SUBSCRIBE is answered by what confirms no subscription")
		}
	case unsubscribed:
		return d.unsubscribeReply(m)
	case role:
		if m.isList() && len(m.items) == 0 {
			return errors.New("the reply to ROLE is empty")
		}
	case primaryAddress:
		if m.isList() && len(m.items) < 2 {
			return errors.New("a sentinel names a primary without host or port")
		}
	case listOfSentinelHosts:
		for _, item := range m.items {
			if f := item.fields(); f != nil {
				if err := d.addSentinel(net.JoinHostPort(f["ip"], f["port"])); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// unsubscribeReply checks the reply to UNSUBSCRIBE. The library sends a PING after it and treats the PONG as the end of
// both. After an error it drops the PONG, unless it treats the error itself as one: then the PONG would be one reply
// too many.
func (d *dialogue) unsubscribeReply(m message) error {
	switch {
	case m.isPong() && !m.isError():
		if len(d.pending) == 0 || d.pending[0].expects != pong {
			return errors.New("PONG before PING")
		}
		d.pop()
		return nil
	case m.isError() && !m.isPong() && m.text != "QUEUED":
		d.pongDue = true
		return nil
	}
	return errors.New("UNSUBSCRIBE is answered by what ends no subscription")
}
