package guard

import (
	"errors"
	"fmt"
	"net"
	"strings"
)

// maxEvents is how many events a sentinel may tell on one connection. The library holds 16 that it has not handled, and
// while it asks the sentinels it handles none: one more, and it would wait for itself. A new connection begins with
// fresh answers.
const maxEvents = 16

// dialogue compares what an engine sends on a connection with what was asked. It mirrors how the library counts
// replies, and is stricter where the library would panic. It is not safe for concurrent use.
type dialogue struct {
	named func(sentinel string) error // takes in a sentinel that the library will remember

	pending []command
	begun   bool // a command was written
	pubsub2 bool // the connection began without HELLO 3: the library uses it for subscriptions by RESP2
	listens bool // SUBSCRIBE or UNSUBSCRIBE was written
	confirm int  // pushes that confirm the other channels of a SUBSCRIBE that is answered
	pongDue bool // UNSUBSCRIBE was answered by an error: the PING behind it is the library's own
	events  int
}

// wrote takes in a command.
func (d *dialogue) wrote(c command) {
	if !d.begun {
		d.begun, d.pubsub2 = true, !c.resp3
	}
	d.listens = d.listens || c.expects == subscribed || c.expects == unsubscribed
	d.pending = append(d.pending, c)
}

// read takes in a whole frame. keep is false for one that the library does nothing with.
func (d *dialogue) read(frame []byte) (keep bool, err error) {
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
	case d.listens && pushes(m.first()):
		return d.push(m)
	}
	return false, errors.New("an array on a connection for subscriptions that is no message")
}

// pushes reports whether a word names a push.
func pushes(word string) bool {
	switch word {
	case "message", "subscribe", "unsubscribe":
		return true
	}
	return false
}

// push takes in what the engine sends unasked, and what confirms subscriptions.
func (d *dialogue) push(m message) (keep bool, err error) {
	if len(m.items) < 2 {
		return false, nil
	}
	switch m.first() {
	case "message":
		return d.message(m.items[1:])
	case "subscribe":
		return true, d.confirmed()
	case "unsubscribe":
		if d.confirm > 0 {
			return false, errors.New("a subscription that ends while it is confirmed")
		}
		return true, nil
	case "psubscribe", "ssubscribe", "punsubscribe", "sunsubscribe":
		return false, fmt.Errorf("a push %q that no command asked for", m.first())
	}
	return false, nil
}

// confirmed takes in that a channel is subscribed to. The first confirmation of a SUBSCRIBE is its reply.
func (d *dialogue) confirmed() error {
	if d.confirm > 0 {
		d.confirm--
		return nil
	}
	if len(d.pending) == 0 || d.pending[0].expects != subscribed {
		return errors.New("a subscription is confirmed that no command asked for")
	}
	d.confirm = d.pop().channels - 1
	return nil
}

// message takes in a published message: the library cuts those of a sentinel into words without counting them.
func (d *dialogue) message(items []message) (keep bool, err error) {
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
		return true, d.named(net.JoinHostPort(words[2], words[3]))
	}
	return true, nil
}

func (d *dialogue) pop() command {
	c := d.pending[0]
	d.pending = d.pending[1:]
	return c
}

// reply takes in the reply to a command.
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
		if err := redirect(m.text); err != nil {
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
	return d.fits(c, m)
}

// redirect checks that an error which sends the library to another node says where that is.
func redirect(text string) error {
	for prefix, least := range map[string]int{"MOVED": 3, "ASK": 3, "REDIRECT": 2} {
		if strings.HasPrefix(text, prefix) && strings.Count(text, " ")+1 < least {
			return fmt.Errorf("an error %s that does not say where to", prefix)
		}
	}
	return nil
}

// fits checks the replies that the library trusts to be of a certain form.
func (d *dialogue) fits(c command, m message) error {
	switch c.expects {
	case subscribed:
		if !m.isError() || m.text == "QUEUED" {
			return errors.New("SUBSCRIBE is answered by what confirms no subscription")
		}
	case unsubscribed:
		return d.ended(m)
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
				if err := d.named(net.JoinHostPort(f["ip"], f["port"])); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// ended checks the reply to UNSUBSCRIBE. The library sends a PING behind it and takes the PONG for the end of both.
// After an error it drops the PONG, unless it takes the error itself for one: then the PONG would be one reply too
// many.
func (d *dialogue) ended(m message) error {
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
