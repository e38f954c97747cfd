package resolver

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/fair"
	"github.com/stsmapd/stsmapd/resolver/fetch"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/resolver/tlsrpt"
)

const (
	maxBackground   = 256              // works in the background at the same time, id checks included
	backgroundLimit = 30 * time.Second // for one of them, id checks apart
)

// background runs work that no answer waits for.
type background struct {
	log   events
	slots *fair.Slots // maxBackground

	ctx     context.Context // of the work; ends with close
	cancel  context.CancelFunc
	mu      sync.Mutex // guards closed against running
	closed  bool
	running sync.WaitGroup
}

func newBackground(log events) *background {
	b := &background{log: log, slots: fair.New(maxBackground, fair.Share(maxBackground))}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// run runs work for a domain in the background, unless too much runs already: then the work is left out.
func (b *background) run(domain dnsname.Name, work func(context.Context)) {
	release, ok := b.slots.TryAcquire(fair.Of(domain, 0))
	if !ok {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		release()
		return
	}
	b.running.Go(func() {
		defer release()
		defer func() {
			if r := recover(); r != nil {
				b.log.Error("a DNS lookup that no mail waits for failed by a fault in stsmapd; please report it",
					"event", "panic", "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			}
		}()
		ctx, cancel := context.WithTimeout(b.ctx, backgroundLimit)
		defer cancel()
		work(ctx)
	})
}

// close lets nothing more begin, ends what runs, and waits for it.
func (b *background) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.cancel()
	b.running.Wait()
}

// lint compares the MX hosts of a domain with a policy just learnt, in the background: where none matches, no mail will
// get through, and the administrator should know why before the queue fills.
func (b *base) lint(e Entry) {
	if e.Policy.Mode != mtasts.ModeEnforce {
		return
	}
	b.background.run(e.Domain, func(ctx context.Context) {
		answer, err := b.config.Load().DNS.MX(ctx, e.Domain.String())
		if err != nil || len(answer.Records) == 0 {
			return // nothing to compare with; deliveries will tell
		}
		hosts := make([]string, len(answer.Records))
		for i, mx := range answer.Records {
			hosts[i] = mx.Host
		}
		if !anyMatches(e.Policy, hosts) {
			b.log.Warn("no MX host of the domain matches its policy: Postfix will defer its mail until the publisher "+
				"repairs the policy or the MX records; an override can let it pass", "event", "mx_mismatch", "domain",
				e.Domain,
				"mx_hosts", strings.Join(hosts, ","), "policy_mx", e.Policy.MX())
		}
	})
}

func anyMatches(p mtasts.Policy, hosts []string) bool {
	for _, h := range hosts {
		if name, err := dnsname.ParseHost(h); err == nil && p.Matches(name) {
			return true
		}
	}
	return false
}

// Reporter takes reports of failed policy fetches to a TLSRPT collector; *tlsrpt.Collector is one. Send never blocks.
type Reporter interface {
	Send(tlsrpt.Report)
	// Stats is how many reports the collector took, and how many it did not.
	Stats() (sent, dropped uint64)
}

// report tells the TLSRPT collector of a failed fetch (RFC 8460 section 4.3.2.2), in the background, if there is one
// and the domain publishes a TLSRPT record. known is the live policy, nil for none; of mode none nothing is reported
// (RFC 8460 section 6).
func (b *base) report(domain dnsname.Name, known *CachedPolicy, err error) {
	to := b.config.Load().Reporter
	if to == nil || (known != nil && known.mode == mtasts.ModeNone) {
		return
	}
	b.background.run(domain, func(ctx context.Context) {
		answer, lookupErr := b.config.Load().DNS.TXT(ctx, "_smtp._tls."+domain.String())
		if lookupErr != nil {
			return // no record, no report
		}
		record, recordErr := tlsrpt.ParseRecord(answer.Records)
		if recordErr != nil {
			return
		}
		r := tlsrpt.Report{Domain: domain, Record: record, Failure: failureType(err), Reason: reportReason(err)}
		if known != nil {
			r.Policy = ReportLines(known.Policy())
			for _, p := range known.Policy().MX() {
				r.MX = append(r.MX, p.String())
			}
		}
		to.Send(r)
	})
}

// failureType is what RFC 8460 section 4.3.2.2 calls a failed fetch.
func failureType(err error) tlsrpt.Failure {
	var failed *fetch.Error
	if !errors.As(err, &failed) {
		return tlsrpt.FetchError
	}
	switch failed.Kind {
	case fetch.Certificate:
		return tlsrpt.WebPKIInvalid
	case fetch.Invalid:
		return tlsrpt.PolicyInvalid
	default:
		return tlsrpt.FetchError
	}
}

// reportReason says what happened to the domain's owner.
func reportReason(err error) string {
	var failed *fetch.Error
	if !errors.As(err, &failed) {
		return ""
	}
	return failed.Reason()
}

// ReportLines is a policy's lines for reports (RFC 8460 section 4.4), here and through Postfix: a collector takes two
// spellings for two policies. Postfix reads a line between braces, so that one with braces, or with what a log would
// not bear, is left out.
func ReportLines(p mtasts.Policy) []string {
	return slices.DeleteFunc(p.Lines(), func(line string) bool {
		return strings.ContainsFunc(line, func(r rune) bool { return r == '{' || r == '}' || !unicode.IsPrint(r) })
	})
}
