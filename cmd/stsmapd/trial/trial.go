// Package trial lets this host's own smtp(8) deliver messages to a mail server on the loopback, under a policy that the
// trial answers: the last word on whether policies are enforced here.
//
// For each SMTP client it starts a private instance of Postfix, with a queue and a copy of the configuration in a
// directory that is removed afterwards. The instance has the SMTP client as master.cf has it, and the tlsmgr, tlsproxy
// and proxymap of master.cf. Of main.cf it has everything but what sends mail elsewhere, changes or delays it. The
// tables of smtp_tls_policy_maps stay, and one behind stsmapd's answers for the mail server; it trusts one more CA.
// Nothing of the running Postfix is touched, and no message leaves the loopback. The DNS is not asked.
package trial

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/doctor"
)

// limit is how long the messages of one SMTP client may take.
const limit = time.Minute

// pause is how often the log is read.
const pause = 50 * time.Millisecond

// message is what a trial sends by each SMTP client. The names are those of recipients.
type message int

const (
	valid     message = iota // the mail server meets the policy: it must be delivered
	untrusted                // no CA that anybody knows signed its certificate: it must not be delivered
	misnamed                 // its certificate is for another name: it must not be delivered
	free                     // there is no policy: it must be delivered
	messages
	fallback = messages // no message: the server in the place of the fallback relay
)

func (m message) recipient() string { return m.String() + "@" + mailDomain }

// String returns the local part of the recipient.
func (m message) String() string { return [...]string{"valid", "untrusted", "misnamed", "free"}[m] }

// Run tries deliveries by each SMTP client that sends mail to the internet, and returns what they show. It takes a
// minute at most for each. The facts are those of the diagnosis. It returns an error where no private instance can be
// started, for which it needs root, and Postfix 3.4, which can log to a file; nothing is known then.
func Run(ctx context.Context, p doctor.Postfix, f doctor.Facts) ([]doctor.Finding, error) {
	switch {
	case os.Geteuid() != 0:
		return nil, errors.New("only root can start an instance of Postfix")
	case !f.AtLeast(3, 4):
		return nil, errors.New("what it does is read from its log, and before 3.4 Postfix cannot log to a file")
	}
	s, err := startServers()
	if err != nil {
		return nil, err
	}
	defer s.close()
	policies, err := startPolicies(f.MapNames, s)
	if err != nil {
		return nil, err
	}
	defer policies.close()
	var findings []doctor.Finding
	for _, sender := range f.Senders() {
		i, err := newInstance(p, f, sender)
		if err != nil {
			return nil, err
		}
		log, err := i.try(ctx, s, policies.address())
		if err = errors.Join(err, i.remove()); err != nil {
			return nil, err
		}
		o := outcome{service: sender.Service().Name, certain: sender.Certain(), log: log, results: resultsIn(log)}
		for m := range o.ports {
			o.ports[m] = s.port(message(m))
		}
		findings = append(findings, o.judge()...)
	}
	return findings, nil
}

// try configures and starts the instance, submits the messages, and returns the log, in which each has a result, or
// none will come, or the time is up.
func (i *instance) try(ctx context.Context, s *servers, policies string) (string, error) {
	if err := i.configure(ctx, s, policies); err != nil {
		return "", err
	}
	if err := i.start(ctx); err != nil {
		return "", err
	}
	if err := i.submit(ctx); err != nil {
		return "", err
	}
	end := time.NewTimer(limit)
	defer end.Stop()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		text, err := os.ReadFile(i.log)
		if err != nil && !os.IsNotExist(err) {
			return "", err
		}
		if len(resultsIn(string(text))) == int(messages) || ended(string(text)) {
			return string(text), nil
		}
		select {
		case <-tick.C:
		case <-end.C:
			return string(text), nil
		case <-ctx.Done():
			return "", fmt.Errorf("interrupted: %w", context.Cause(ctx))
		}
	}
}
