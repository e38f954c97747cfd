package maillog

import (
	"bytes"
	"hash/maphash"
	"time"
)

// process is what an smtp(8) process has logged of the delivery that it is at. It delivers one message at a time, so
// that all it logs before a delivery line belongs to that delivery.
type process struct {
	peer     uint64 // the server that TLS was last spoken to; 0 for none
	peerHost []byte
	trust    Trust // of the connection to it, NoTrust where none is logged

	failure   Reason // of a policy, NoReason for none
	confirmed bool   // the failure made Postfix leave out a host: it is not only a table's complaint
	host      []byte // the MX host that was left out, empty where no line names it
	nextHop   []byte
	text      []byte

	request uint64 // the message of the last delivery line; 0 before there is one
	domain  *Domain
	delays  uint64
}

// begin forgets a delivery that is over. What is logged behind a delivery line belongs to the next delivery.
func (p *process) begin() {
	if p.request != 0 {
		p.reset()
	}
}

// reset keeps the buffers.
func (p *process) reset() {
	*p = process{peerHost: p.peerHost[:0], host: p.host[:0], nextHop: p.nextHop[:0], text: p.text[:0]}
}

// fail notes a policy's failure. Postfix logs one failure several times, from the cause to its consequence, and may
// find others with the next hosts: what says more stays.
func (p *process) fail(f *PolicyFailure, confirmed bool) {
	p.confirmed = p.confirmed || confirmed
	if len(f.NextHop) > 0 {
		p.nextHop = keep(p.nextHop, f.NextHop)
	}
	if len(f.Host) > 0 {
		p.host = keep(p.host, f.Host)
	}
	if telling(f.Reason) < telling(p.failure) || telling(f.Reason) == telling(p.failure) && f.Reason == p.failure {
		return
	}
	p.failure = f.Reason
	p.text = keep(p.text, f.Text)
}

// telling ranks reasons by how much they say.
func telling(r Reason) int {
	switch r {
	case NoReason:
		return 0
	case ClientConfiguration:
		return 1
	case MapLookup:
		return 2
	default:
		return 3
	}
}

// maxKept bounds what is kept of a text or a name.
const maxKept = 256

func keep(into, b []byte) []byte { return append(into[:0], b[:min(len(b), maxKept)]...) }

// certificateProblem is the last one that was logged of a server. Where smtp_tls_connection_reuse is set, tlsproxy(8)
// logs it, so that the server's name and address are all that joins it to a delivery.
type certificateProblem struct {
	reason Reason
	at     time.Time
}

// problemAge is for how long a certificate's problem explains why a delivery to its server fails. A TLS session is
// used again, without a word on its certificate, for an hour at most (smtp_tls_session_cache_timeout).
const problemAge = time.Hour + time.Minute

// keys makes the keys by which things are joined. They are hashes of 64 bits with a seed of their own: nobody can
// make two things have the same one, and by chance they do not.
type keys struct{ seed maphash.Seed }

func (k keys) of(parts ...[]byte) uint64 {
	var h maphash.Hash
	h.SetSeed(k.seed)
	for _, p := range parts {
		_, _ = h.Write(p) // it never fails
		_ = h.WriteByte(0)
	}
	return max(h.Sum64(), 1) // 0 is no key
}

func (k keys) process(l *Line) uint64 {
	pid := [4]byte{byte(l.PID), byte(l.PID >> 8), byte(l.PID >> 16), byte(l.PID >> 24)}
	return k.of(l.Host, l.Instance, pid[:])
}

func (k keys) message(l *Line, queueID []byte) uint64 { return k.of(l.Host, queueID) }

func (k keys) recipient(l *Line, d *Delivery) uint64 { return k.of(l.Host, d.QueueID, d.Recipient) }

func (k keys) peer(p Peer) uint64 {
	if p.IsZero() {
		return 0
	}
	return k.of(p.Host, p.Address, p.Port)
}

// joins knows what the log has said of deliveries that are not over.
type joins struct {
	keys      keys
	processes *recent[process]
	problems  *recent[certificateProblem] // by peer
}

func newJoins(limit int) joins {
	return joins{keys{maphash.MakeSeed()}, newRecent[process](limit, nil), newRecent[certificateProblem](limit, nil)}
}

// state returns what is known of the line's process.
func (j *joins) state(l *Line) *process {
	key := j.keys.process(l)
	place, ok := j.processes.find(key)
	if !ok {
		place = j.processes.insert(key)
		j.processes.at(place).reset()
	}
	j.processes.use(place)
	return j.processes.at(place)
}

// speakTo notes the server that TLS is spoken to.
func (p *process) speakTo(peer Peer, key uint64, trust Trust) {
	p.begin()
	p.peer, p.trust, p.peerHost = key, trust, keep(p.peerHost, peer.Host)
}

// addConnection notes a TLS connection of the line's process, or that there could be none.
func (j *joins) addConnection(l *Line, c *Connection) {
	j.state(l).speakTo(c.Peer, j.keys.peer(c.Peer), c.Trust)
}

// addAttempt notes a host that was given up, with others left to try.
func (j *joins) addAttempt(l *Line, a *Attempt) {
	p := j.state(l)
	p.begin()
	if len(a.QueueID) == 0 {
		return
	}
	if a.Reason == NoReason {
		if p.failure == HandshakeFailed && p.trust != Verified {
			p.failure, p.confirmed = NoReason, false // see isOpportunistic
		}
		return
	}
	host := hostIn(a.Text)
	if len(host) == 0 {
		host = p.peerHost
	}
	reason := j.certificate(a.Reason, p, p.peer, l.Time)
	p.fail(&PolicyFailure{Host: host, Reason: reason, Text: a.Text}, true)
}

// addFailure notes a policy that could not be looked up or used.
func (j *joins) addFailure(l *Line, f *PolicyFailure) {
	p := j.state(l)
	p.begin()
	p.fail(f, len(f.Host) > 0)
}

// addCertificate notes a certificate that was not verified.
func (j *joins) addCertificate(l *Line, c *Certificate) {
	key := j.keys.peer(c.Peer)
	if l.Program == SMTP {
		j.state(l).speakTo(c.Peer, key, NoTrust)
	}
	place, ok := j.problems.find(key)
	if !ok {
		place = j.problems.insert(key)
	}
	j.problems.use(place)
	*j.problems.at(place) = certificateProblem{c.Reason, l.Time}
}

// certificate says more exactly why a certificate was refused, by what was logged of the peer's.
func (j *joins) certificate(reason Reason, p *process, peer uint64, at time.Time) Reason {
	if reason != NotVerified && reason != NotTrusted || peer == 0 {
		return reason
	}
	if place, ok := j.problems.find(peer); ok {
		if problem := j.problems.at(place); at.Sub(problem.at) <= problemAge {
			return problem.reason
		}
	}
	if reason == NotVerified && p.peer == peer {
		switch p.trust {
		case Trusted:
			return NameMismatch
		case Untrusted, Anonymous:
			return NotTrusted
		}
	}
	return reason
}

// deferralReason says for which reason a policy keeps a recipient back, by the delivery's line, by what its process
// logged before it, and by what kept back the same recipient, or its domain, before.
func (j *joins) deferralReason(l *Line, d *Delivery, p *process, before Reason) Reason {
	reason, suspended := classify(d.Reason)
	unavailable := bytes.HasSuffix(d.Reason, []byte(unavailableText))
	if suspended || l.Program != SMTP {
		if before != NoReason && (reason.isOpen() && before.family() == reason.family() || unavailable &&
			before == MXNotInPolicy) {
			return before
		}
		return reason
	}
	switch {
	case reason == NoReason && d.TLS.Wanted == LevelUnknown:
		reason = ClientConfiguration
	case reason == NoReason && p.confirmed && !p.isOpportunistic(d):
		return p.failure // without the policy, the host that was left out would have been used
	case reason == NoReason && d.TLS.Outcome == Violated:
		return OtherViolation
	case reason != RequireTLS && d.TLS.IsLogged() && (d.TLS.Wanted == LevelNone || d.TLS.Wanted == LevelMay):
		return NoReason // TLS failed, and no policy asked for it
	}
	if p.failure.family() == reason.family() && telling(p.failure) > telling(reason) {
		reason = p.failure
	}
	return j.certificate(reason, p, j.keys.peer(d.Relay), l.Time)
}

// isOpportunistic reports whether a handshake failed that no policy asked for. Under level may, smtp(8) logs it like
// any other, and then tries the same host without TLS: that host's words come next, and there is no verified
// connection.
func (p *process) isOpportunistic(d *Delivery) bool {
	if p.failure != HandshakeFailed || p.trust == Verified {
		return false
	}
	return d.TLS.Wanted == LevelMay || d.TLS.Wanted == NoLevel && !d.Relay.IsZero()
}

// hostIn returns the host that a text such as "TLS is required, but was not offered by host
// mx.example.com[192.0.2.1]" names, nil where it names none.
func hostIn(text []byte) []byte {
	for _, before := range []string{"host ", "attempted server was ", "error for "} {
		i := bytes.Index(text, []byte(before))
		if i < 0 {
			continue
		}
		name := text[i+len(before):]
		end := 0
		for end < len(name) && name[end] != '[' && name[end] != ' ' && name[end] != ':' {
			end++
		}
		return name[:end]
	}
	return nil
}
