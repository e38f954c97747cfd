package dane

import (
	"strconv"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// Destination is where Postfix wants to deliver. Only DANE asks for more than its domain: TLSA records belong to a
// port, and to the hosts that are connected to (RFC 7672 section 2.2).
type Destination struct {
	Domain dnsname.Name // the policy domain
	Port   uint16       // 0 is 25
	Direct bool         // a name in [brackets]: Postfix connects to it without an MX lookup
}

// String writes the destination as a Postfix next hop.
func (d Destination) String() string {
	name := d.Domain.String()
	if d.Direct {
		name = "[" + name + "]"
	}
	if d.port() != smtpPort {
		name += ":" + strconv.Itoa(int(d.Port))
	}
	return name
}

const smtpPort = 25

func (d Destination) port() uint16 {
	if d.Port == 0 {
		return smtpPort
	}
	return d.Port
}
