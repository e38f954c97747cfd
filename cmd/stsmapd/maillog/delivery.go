package maillog

import (
	"bytes"
	"time"
)

// cutQueueID splits "4F0C31A2B3: text". A queue id is hexadecimal, or of letters and digits (enable_long_queue_ids),
// and has between 5 and 20 of them.
func cutQueueID(text []byte) (id, rest []byte, ok bool) {
	i := 0
	for i < len(text) && i <= 20 && (isDigit(text[i]) || text[i]|0x20 >= 'a' && text[i]|0x20 <= 'z') {
		i++
	}
	if i < 5 || i > 20 || i+1 >= len(text) || text[i] != ':' || text[i+1] != ' ' {
		return nil, nil, false
	}
	switch string(text[:i]) {
	case "warning", "error", "fatal", "panic", "TLSRPT": // words that Postfix begins lines with
		return nil, nil, false
	}
	return text[:i], text[i+2:], true
}

// parse reads a delivery's line behind its queue id: to=<…>, [orig_to=<…>,] relay=…, …, dsn=…, status=… (…). It
// is false for a line that ends before its relay: the recipient may be cut.
func (d *Delivery) parse(id, text []byte) bool {
	*d = Delivery{QueueID: id, Reuse: 1}
	recipient, rest, ok := cutAddress(text, "to=<")
	if !ok {
		return false
	}
	d.Recipient = recipient
	if after, ok := bytes.CutPrefix(rest, []byte(", orig_to=<")); ok {
		// The original recipient is not needed, and may be cut off.
		if _, rest, ok = cutAddress(after, ""); !ok {
			return true
		}
	}
	rest, ok = bytes.CutPrefix(rest, []byte(", "))
	if !ok || !bytes.HasPrefix(rest, []byte("relay=")) {
		return false
	}
	d.parseFields(rest)
	return true
}

// cutAddress returns what stands before the closing bracket. A local part may hold anything, as long as it is quoted.
func cutAddress(text []byte, prefix string) (address, rest []byte, ok bool) {
	text, ok = bytes.CutPrefix(text, []byte(prefix))
	if !ok {
		return nil, nil, false
	}
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case c == '>' && !quoted:
			return text[:i], text[i+1:], true
		}
	}
	return nil, nil, false
}

// parseFields reads the fields behind the recipient. Fields that it does not know are left out: Postfix adds some.
func (d *Delivery) parseFields(text []byte) {
	for len(text) > 0 {
		name, rest, ok := bytes.Cut(text, []byte("="))
		if !ok {
			return
		}
		if string(name) == "status" {
			d.parseStatus(rest)
			return
		}
		var value []byte
		value, text, ok = bytes.Cut(rest, []byte(", "))
		if !ok {
			return // the line is cut inside this field
		}
		switch string(name) {
		case "relay":
			if string(value) != "none" {
				d.Relay, _ = parsePeer(value)
			}
		case "conn_use":
			d.Reuse = max(number(value), 1)
		case "delay":
			d.Delay = parseDelay(value)
		case "delays":
			d.Delays = value
		case "tls":
			d.TLS = ParseTLSStatus(value)
		case "dsn":
			d.DSN = value
		}
	}
}

func (d *Delivery) parseStatus(text []byte) {
	word, reason, ok := bytes.Cut(text, []byte(" ("))
	d.Reason = bytes.TrimSuffix(reason, []byte(")"))
	if !ok {
		d.Reason = nil
	}
	switch string(word) {
	case "sent":
		d.Status = Sent
	case "deferred", "SOFTBOUNCE":
		d.Status = Deferred
	case "bounced":
		d.Status = Bounced
	case "deliverable", "undeliverable":
		d.Status = Probed
	}
}

// parsePeer splits name[address]:port, and returns what follows it. The port may be missing.
func parsePeer(b []byte) (Peer, []byte) {
	open := bytes.IndexByte(b, '[')
	if open <= 0 {
		return Peer{Host: b}, nil
	}
	size := bytes.IndexByte(b[open:], ']')
	if size < 0 {
		return Peer{Host: b[:open]}, nil
	}
	p := Peer{Host: bytes.TrimRight(b[:open], " "), Address: b[open+1 : open+size]}
	rest := b[open+size+1:]
	if len(rest) > 1 && rest[0] == ':' && isDigit(rest[1]) {
		end := 1
		for end < len(rest) && isDigit(rest[end]) {
			end++
		}
		p.Port, rest = rest[1:end], rest[end:]
	}
	return p, rest
}

// parseDelay reads "0.34" or "21537", in seconds. What is no such number is 0.
func parseDelay(b []byte) time.Duration {
	whole, _, _ := bytes.Cut(b, []byte("."))
	seconds := number(whole)
	if seconds < 0 {
		return 0
	}
	nanos, _ := fraction(b[len(whole):])
	return time.Duration(seconds)*time.Second + time.Duration(nanos)
}
