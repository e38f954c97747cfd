package contract

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
	"github.com/stsmapd/stsmapd/resolver/testkit"
	"github.com/stsmapd/stsmapd/socketmap"
	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"

	"github.com/stsmapd/stsmapd/resolver/dane"
)

const (
	generatedPolicies = 10_000
	generatedZone     = "generated.test"
	closedHost        = "closed." + generatedZone // the MX host of all; nobody listens there
	malformed         = "malformed." + generatedZone
	// generatedMap makes Postfix read the policies in mode testing too.
	generatedMap = "sts+tlsrpt+strict"
)

// generatedAnswers is a resolver with a generated policy, or an invalid one, for each domain.
type generatedAnswers map[dnsname.Name]resolver.Finding

// Answer implements tlspolicy.Answerer.
func (g generatedAnswers) Answer(_ context.Context, q resolver.Question) resolver.Verdict {
	finding, ok := g[q.Domain]
	if !ok {
		finding = &resolver.LookupFailed{Err: errors.New("no such domain was generated")}
	}
	return resolver.Decide(time.Now(), q, nil, finding, nil)
}

// generate makes the policies of as many domains.
func generate(t *testing.T) (generatedAnswers, []string) {
	t.Helper()
	answers := generatedAnswers{}
	var domains []string
	g := newGenerator(2)
	for i := range generatedPolicies {
		name, err := dnsname.Parse(fmt.Sprintf("p%d.%s", i, generatedZone))
		if err != nil {
			t.Fatal(err)
		}
		domains = append(domains, name.String())
		policy, err := mtasts.ParsePolicy(g.policy(closedHost))
		if err != nil {
			answers[name] = &resolver.FetchFailed{Err: err}
			continue
		}
		answers[name] = resolver.NewCachedPolicy(
			resolver.Entry{Domain: name, ID: "1", Policy: policy, Fetched: time.Now()}, time.Time{})
	}
	return answers, domains
}

// TestTenThousandPolicies puts generated policies through everything from the policy's parser to Postfix's
// parsers of the reply: that of the socketmap client, by `postmap -q -`, and that of the SMTP client, by a mail for
// every domain. The SMTP client reads the policy before it connects; where nobody listens it can read all of them in
// seconds.
func TestTenThousandPolicies(t *testing.T) {
	w := world.Open(t)
	tree := w.Tree(t, world.Sid, w.Resolver())
	answers, domains := generate(t)
	w.DNS.Set("*."+generatedZone, dns.TypeMX, fmt.Sprintf("*.%s. 300 IN MX 10 %s.", generatedZone, closedHost))
	w.DNS.Set(closedHost, dns.TypeA, fmt.Sprintf("%s. 300 IN A %s", closedHost, w.Host()))
	inet := netip.AddrPortFrom(w.Host(), 8461)
	serve(t, inet, answers)
	p := w.NewPostfix(t, world.PostfixConfig{Inet: inet, Map: generatedMap, Tree: tree})
	p.Start(t)

	values, result := p.PostmapAll(t, "socketmap:inet:"+inet.String()+":"+generatedMap, domains)
	if result.Stderr != "" || result.Code != 0 {
		t.Errorf("postmap -q - of %d domains: exit code %d: %s", len(domains), result.Code, result.Stderr)
	}
	features, err := tlspolicy.ParseMapName(generatedMap)
	if err != nil {
		t.Fatal(err)
	}
	secured, largest := 0, 0
	reasons := map[string]string{malformed: "client TLS configuration problem"}
	for name := range answers {
		verdict := answers.Answer(t.Context(),
			resolver.Question{Destination: dane.Destination{Domain: name}, Strict: features.Strict})
		reply := tlspolicy.Render(features, verdict)
		if got := values[name.String()]; got != reply.Data() {
			t.Fatalf("postmap -q %s prints\n%.1000q, not\n%.1000q", name, got, reply.Data())
		}
		if reply.Status() == socketmap.StatusOK {
			secured++
			largest = max(largest, len(reply.Data()))
		}
		reasons[name.String()] = "Connection refused"
		if host, _ := dnsname.Parse(closedHost); verdict.Policy != nil && verdict.Outcome == resolver.Enforce &&
			!verdict.Policy.Entry().Policy.Matches(host) {
			// a byte of its pattern was spoilt: Postfix 3.10.5 does not even try
			reasons[name.String()] = "server unavailable"
		}
	}
	t.Logf("Postfix %s: %d policies, %d of them bind, the largest reply is of %d bytes", p.Version(t), len(domains),
		secured, largest)
	if secured < generatedPolicies/3 || largest < 60_000 {
		t.Errorf("%d policies of %d bind, the largest reply is of %d bytes: too tame", secured, generatedPolicies,
			largest)
	}
	readBySMTPClient(t, p, append(domains, malformed), reasons)
	p.NoComplaint(t, mismatchWarning, malformed)
}

// serve answers as stsmapd does, and one question with what Postfix must complain of.
func serve(t *testing.T, addr netip.AddrPort, answers generatedAnswers) {
	t.Helper()
	handler := tlspolicy.NewHandler(answers, slog.New(slog.DiscardHandler))
	server := &socketmap.Server{
		Logger: slog.New(slog.DiscardHandler),
		Handler: socketmap.HandlerFunc(func(ctx context.Context, r socketmap.Request) socketmap.Reply {
			if string(r.Key) == malformed {
				return socketmap.OK("secure match=" + closedHost + " { policy_string = a } }")
			}
			return handler.ServeSocketmap(ctx, r)
		}),
	}
	listener, err := net.Listen("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, socketmap.ErrServerClosed) {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), world.Hang)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		serving.Wait()
	})
}

var deferral = regexp.MustCompile(`: to=<[^@>]*@([^>]*)>.* status=(\w+) \((.*)\)$`)

// readBySMTPClient sends a mail to each domain and checks what keeps it from going out: nothing but that the host is
// down, of which the reason is a part.
func readBySMTPClient(t *testing.T, p *world.Postfix, domains []string, reasons map[string]string) {
	t.Helper()
	const most = 1000 // smtpd_recipient_limit
	for first := 0; first < len(domains); first += most {
		var to []string
		for _, domain := range domains[first:min(first+most, len(domains))] {
			to = append(to, "someone@"+domain)
		}
		p.SendAll(t, world.ByInet, "user", to)
	}
	begin, looked := time.Now(), time.Time{}
	got := map[string]string{}
	for before := -1; len(got) > before && len(got) < len(domains); { // as long as there are more and more
		before = len(got)
		world.Poll(world.Hang, func() bool {
			if time.Since(looked) < 500*time.Millisecond { // the log is long
				return false
			}
			for _, line := range p.LogLines(t, ": to=<", " status=") {
				if match := deferral.FindStringSubmatch(line); match != nil {
					got[match[1]] = match[2] + ": " + match[3]
				}
			}
			looked = time.Now()
			return len(got) > before
		})
	}
	t.Logf("the SMTP client has read %d replies in %v", len(got), time.Since(begin))
	for _, domain := range domains {
		if !strings.HasPrefix(got[domain], "deferred: ") || !strings.Contains(got[domain], reasons[domain]) {
			t.Errorf("mail for %s is %q, not deferred because of %q", domain, got[domain], reasons[domain])
		}
	}
}

// TestGeneratedDeliveries delivers under generated policies, fetched by the daemon from policy hosts.
func TestGeneratedDeliveries(t *testing.T) {
	w := world.Open(t)
	for _, contract := range []struct {
		why, mapName string
		system       world.System
	}{
		{"the machine's Postfix", "sts", world.Own},
		{"Postfix 3.10 and later", "sts+tlsrpt", world.Sid},
	} {
		t.Run(contract.why, func(t *testing.T) {
			tree := w.Tree(t, contract.system, w.Resolver())
			p, _ := startPair(t, w, world.PostfixConfig{Map: contract.mapName, Tree: tree}, world.DaemonConfig{})
			deliverGenerated(t, w, p, testkit.Sample(t, "generated policies in force", 100, 20))
			p.NoComplaint(t)
		})
	}
}

// deliverGenerated delivers under so many generated policies that bind, and a fifth as many others.
func deliverGenerated(t *testing.T, w *world.World, p *world.Postfix, bind int) {
	t.Helper()
	g := newGenerator(3)
	var verified, other int
	t.Run("domains", func(t *testing.T) {
		for verified < bind || other < bind/5 {
			d := w.Domain("generated")
			body := g.policy("mx1." + d.Name)
			policy, err := mtasts.ParsePolicy(body)
			want := "Trusted" // what Postfix says of a good certificate that nobody asked for
			host, nameErr := dnsname.Parse("mx1." + d.Name)
			if nameErr != nil {
				t.Fatal(nameErr)
			}
			switch {
			case err == nil && policy.Mode == mtasts.ModeEnforce && policy.Matches(host) && verified < bind:
				verified++
				want = "Verified"
			case (err != nil || policy.Mode != mtasts.ModeEnforce) && other < bind/5:
				other++
			default:
				continue
			}
			t.Run(d.Name, func(t *testing.T) {
				t.Parallel()
				mx := d.AddMX(t)
				d.Publish(t, "1", string(body))
				got := p.Delivery(t, p.Send(t, world.ByInet, "user", "someone@"+d.Name))
				if got.Status != "sent" || got.TLS != want || len(mx.Messages()) != 1 {
					t.Errorf("got %+v, want it sent by TLS that is %s; the policy: %.2000q", got, want, body)
				}
			})
		}
	})
}
