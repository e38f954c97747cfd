package maillog

import "time"

// Line is what each line of Postfix's log has in front of its text. The byte slices are good only until the next line
// is read.
type Line struct {
	Time     time.Time // zero where the line has no time that could be read
	Host     []byte    // the logging host, empty where the line names none
	Instance []byte    // what stands before the program: "postfix", "postfix-out", "postfix/relay" (syslog_name)
	Program  Program
	PID      int
	Text     []byte // what the program wrote
}

// Program is the part of Postfix that wrote a line, as far as it matters here.
type Program uint8

// The programs. OtherProgram is all the rest, Postfix's or not.
const (
	OtherProgram Program = iota
	SMTP                 // smtp(8): delivers to other hosts
	ErrorService         // error(8): logs what is not tried, because of an earlier failure
	QueueManager         // qmgr(8)
	Postsuper            // postsuper(1): an administrator's hand
	TLSProxy             // tlsproxy(8): does TLS for smtp(8) where smtp_tls_connection_reuse is set
)

// Event is what one line says: *Delivery, *Connection, *Certificate, *PolicyFailure, *Attempt or *Gone. An event and
// all its byte slices are good only until the next line is read.
type Event interface{ event() }

func (*Delivery) event()      {}
func (*Connection) event()    {}
func (*Certificate) event()   {}
func (*PolicyFailure) event() {}
func (*Attempt) event()       {}
func (*Gone) event()          {}

// Peer is the host at the other end, as Postfix writes it: name[address]:port. All its fields are empty for "none".
type Peer struct {
	Host    []byte // the MX host's name
	Address []byte // its IP address, or the path of a UNIX-domain socket
	Port    []byte // empty where the line names none
}

// IsZero reports whether there is no peer.
func (p Peer) IsZero() bool { return len(p.Host) == 0 && len(p.Address) == 0 }

// IsLocal reports whether the peer is on the same host: a loopback address or a UNIX-domain socket. Such a peer is a
// content filter or a mailbox server, and a delivery to it is no mail to another host.
func (p Peer) IsLocal() bool {
	a := p.Address
	if len(a) == 0 {
		return false
	}
	return string(a) == "::1" || len(a) > 4 && string(a[:4]) == "127." || !isAddress(a)
}

// isAddress tells an IP address from the path of a socket.
func isAddress(a []byte) bool {
	for _, c := range a {
		if c != '.' && c != ':' && c != '%' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return true
}

// Status is what became of one recipient in one delivery attempt.
type Status uint8

// The statuses. CutStatus: the line ends before its status, or has one that is none of these.
const (
	CutStatus Status = iota
	Sent
	Deferred
	Bounced
	Probed // deliverable or undeliverable: an address was verified, and no message was sent
)

// Delivery is the result of one attempt to deliver a message to one recipient.
type Delivery struct {
	QueueID   []byte
	Recipient []byte
	Relay     Peer
	Reuse     int           // how often the connection has been used; 1 unless it was taken from the connection cache
	Delay     time.Duration // since the message arrived
	Delays    []byte        // a/b/c/d as written; equal for all recipients of one failed attempt
	TLS       TLSStatus     // Postfix 3.11 and later
	DSN       []byte
	Status    Status
	Reason    []byte // the text in parentheses, without them
}

// Domain returns the part of the recipient's address behind the last @, empty where it has none.
func (d *Delivery) Domain() []byte {
	for i := len(d.Recipient) - 1; i >= 0; i-- {
		if d.Recipient[i] == '@' {
			return d.Recipient[i+1:]
		}
	}
	return nil
}

// Trust says how well Postfix knows the server at the other end of a TLS connection.
type Trust uint8

// The degrees, as Postfix's TLS_README explains them. Only a verified server is known to be the one that a policy
// asks for.
const (
	NoTrust   Trust = iota // no connection
	Anonymous              // the server showed no certificate
	Untrusted              // a certificate of no trusted authority
	Trusted                // of a trusted authority, its names not asked for or not matched
	Verified               // trusted, and its names match
)

// Connection is a TLS connection that was established, or taken from the connection cache; with NoTrust, one whose
// handshake failed.
type Connection struct {
	Trust Trust
	Peer  Peer
}

// Certificate is a certificate that was not verified. It is logged at every security level, so it says nothing of a
// policy.
type Certificate struct {
	Peer   Peer
	Reason Reason // NotTrusted, NameMismatch or CertificateExpired
	Text   []byte // what OpenSSL or Postfix says of it
}

// PolicyFailure is a TLS policy that kept Postfix from using a host, or that could not be looked up.
type PolicyFailure struct {
	NextHop []byte // the destination whose policy was asked for, empty where the line does not name it
	Host    []byte // the MX host that was left out, empty where the line does not name it
	Reason  Reason
	Text    []byte // what the line says, without the names
}

// Attempt is a host that Postfix could not deliver to, with others left to try. It belongs to no policy unless Reason
// says so.
type Attempt struct {
	QueueID []byte // empty where the host could not be connected to
	Reason  Reason
	Text    []byte
}

// Exit is how a message left the queue.
type Exit uint8

// The ways.
const (
	Removed Exit = iota // all its recipients are done with, or it was deleted or queued under another id
	Expired             // it waited for too long, and was returned to its sender
)

// Gone is a message that left the queue.
type Gone struct {
	QueueID []byte
	Exit    Exit
}
