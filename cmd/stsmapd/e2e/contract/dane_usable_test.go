package contract

import (
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
	"github.com/stsmapd/stsmapd/resolver/dnsclient/dnstest"
)

// Keys and a certificate in DER, as OpenSSL 3.0 writes them; Go does not decode any of them.
const (
	derEd448 = "3043300506032b6571033a0052f7ece696bf384f558b140c2417ed040de4205cfcd30c0b3fe45a39964c9b5cd859680f" +
		"0f77ba817e1e767b7f213c8868022e280151250100"
	derBrainpool = "305a301406072a8648ce3d020106092b2403030208010107034200044a17d853ec139b054878de3485015aa8129aa037" +
		"bf138d77a00380e5525e522329649bb611e0462b5ab87b70dd46fe6f9b00627b2c3360a15d3c83a3e3c6c169"
	derCompressed = "3039301306072a8648ce3d020106082a8648ce3d03010703220002af48fb3e4e9d9cb8287786606b9a7079b5894efb4b" +
		"1e3a6aff9f95a6474748ab"
	derOffCurve = "3059301306072a8648ce3d020106082a8648ce3d03010703420004af48fb3e4e9d9cb8287786606b9a7079b5894efb4b" +
		"1e3a6aff9f95a6474748ab3fd447f2d7ccbe3fabad6413a80b6b18d3aefc2479d04cd951d1a75fa177eb2b"
	derNegative = "3082016c30820112a0030201020201fb300a06082a8648ce3d04030230153113301106035504030c0a6d782e6578616d" +
		"706c65301e170d3236313132373233303733375a170d3236313232373233303733375a30153113301106035504030c0a" +
		"6d782e6578616d706c653059301306072a8648ce3d020106082a8648ce3d03010703420004af48fb3e4e9d9cb8287786" +
		"606b9a7079b5894efb4b1e3a6aff9f95a6474748ab3fd447f2d7ccbe3fabad6413a80b6b18d3aefc2479d04cd951d1a7" +
		"5fa177eb2aa3533051301d0603551d0e0416041460d55500dd9bf5b6d2679820c81c00b61a82b54c301f0603551d2304" +
		"183016801460d55500dd9bf5b6d2679820c81c00b61a82b54c300f0603551d130101ff040530030101ff300a06082a86" +
		"48ce3d0403020348003045022100ff62091392d8fd6d70e144a6ed1e74f2976e6df3cbba998d89e47dc3abdbb6120220" +
		"74aee4dac4ccc9b6a30351fd97ee02903b65536462c82e75c6868c8505d4f51d"
)

// usableCases are TLSA records that match no certificate, and whether Postfix calls them usable.
var usableCases = []struct {
	why, record string
	usable      bool
}{
	{"SHA-256 of a key", "3 1 1 " + strings.Repeat("ab", 32), true},
	{"SHA-512 of an authority's certificate", "2 0 2 " + strings.Repeat("ab", 64), true},
	{"a digest that is too short", "3 1 1 " + strings.Repeat("ab", 31), false},
	{"SHA-512 as long as SHA-256", "3 1 2 " + strings.Repeat("ab", 32), false},
	{"PKIX-TA", "0 1 1 " + strings.Repeat("ab", 32), false},
	{"PKIX-EE", "1 1 1 " + strings.Repeat("ab", 32), false},
	{"a selector that there is not", "3 2 1 " + strings.Repeat("ab", 32), false},
	{"a matching type that there is not", "3 1 3 " + strings.Repeat("ab", 32), false},
	{"the matching type that Postfix keeps for itself", "3 1 255 " + strings.Repeat("ab", 32), false},
	{"9 9 9", "9 9 9 " + strings.Repeat("ab", 32), false},
	{"a whole key, Ed448", "3 1 0 " + derEd448, true},
	{"a whole key on a Brainpool curve", "3 1 0 " + derBrainpool, true},
	{"a whole key, compressed", "2 1 0 " + derCompressed, true},
	{"a point that is not on its curve", "3 1 0 " + derOffCurve, false},
	{"a whole key and a byte", "3 1 0 " + derEd448 + "00", false},
	{"a key where a certificate should be", "3 0 0 " + derEd448, false},
	{"a certificate with a negative serial number", "3 0 0 " + derNegative, true},
	{"the same as an authority", "2 0 0 " + derNegative, true},
	{"a certificate where a key should be", "3 1 0 " + derNegative, false},
	{"garbage", "3 0 0 " + strings.Repeat("30", 40), false},
}

// TestDANEUsable tests that stsmapd calls usable what Postfix calls usable. To a domain without a policy Postfix
// does DANE by itself: under usable records, of which none matches, the mail waits; under unusable ones it is sent
// unauthenticated. For a domain with a policy and the same MX host stsmapd must say dane-only, or the policy.
func TestDANEUsable(t *testing.T) {
	w := world.Open(t)
	v := w.Validator(t)
	type pair struct{ alone, protected *world.Domain }
	var pairs []pair
	for _, c := range usableCases {
		p := pair{w.SignedDomain(t, "alone"), w.SignedDomain(t, "protected")}
		mx := p.alone.AddMX(t)
		w.DNS.Set(tlsaName(mx), dns.TypeTLSA, tlsaName(mx)+". 300 IN TLSA "+c.record)
		p.protected.SetMX(mx.Name)
		p.protected.Publish(t, "1", world.Text("enforce", mx.Name))
		pairs = append(pairs, p)
	}
	for _, contract := range daneContracts {
		t.Run(contract.why, func(t *testing.T) {
			p, daemon := startPair(t, w, world.PostfixConfig{
				Map: contract.mapName, Tree: w.Tree(t, contract.system, v.Addr), DANE: true,
			}, world.DaemonConfig{Resolver: v.Addr})
			t.Logf("Postfix %s", p.Version(t))
			ids := make([]string, len(pairs))
			for i, d := range pairs {
				ids[i] = p.Send(t, world.ByUnix, "user", "someone@"+d.alone.Name)
			}
			for i, c := range usableCases {
				got := p.Delivery(t, ids[i])
				waits := got.Status == "deferred" && strings.Contains(got.Reason, "Server certificate not verified")
				if waits != c.usable || !waits && got.Status != "sent" {
					t.Errorf("%s: Postfix by itself: %+v, want usable %v", c.why, got, c.usable)
				}
				answer := daemon.Ask(t, contract.mapName, pairs[i].protected.Name)
				if (answer == daneOnly) != c.usable || !c.usable && !strings.HasPrefix(answer, byPolicy) {
					t.Errorf("%s: the answer is %q, want usable %v", c.why, answer, c.usable)
				}
			}
		})
	}
}

// TestDANEByDOAlone asks a resolver that sets AD only in answers to queries with the DO bit.
func TestDANEByDOAlone(t *testing.T) {
	t.Parallel()
	w := world.Open(t)
	daemon := w.StartDaemon(t, world.DaemonConfig{})
	d := w.Domain("dobit")
	mx := d.AddEnforcedMX(t)
	setTLSA(t, w, mx, mx.Certificate())
	for _, name := range []string{d.Name, mx.Name, tlsaName(mx)} {
		w.DNS.On(name, dns.TypeANY, func(q *dnstest.Query) {
			q.Reply.AuthenticatedData = q.DO
			dnstest.Signed(q)
		})
	}
	for mapName, want := range map[string]string{"sts": byPolicy + mx.Name, "sts+dane": daneOnly} {
		if got := daemon.Ask(t, mapName, d.Name); !strings.HasPrefix(got, want) {
			t.Errorf("%s: the answer is %q, want %q", mapName, got, want)
		}
	}
}

// TestDANEReach tests that an MX host counts if it can be among the first five addresses that Postfix tries.
func TestDANEReach(t *testing.T) {
	t.Parallel()
	w := world.Open(t)
	v := w.Validator(t)
	for _, c := range []struct {
		why        string
		preference func(i int) int // of the host at i, from 1 to 6; the sixth has TLSA records
		answer     string
	}{
		{"the sixth by preference is never tried", func(i int) int { return i }, byPolicy},
		{"the sixth of one preference may be the first", func(int) int { return 10 }, daneOnly},
		{"the fifth is tried", func(i int) int { return min(i, 5) }, daneOnly},
	} {
		t.Run(c.why, func(t *testing.T) {
			t.Parallel()
			daemon := w.StartDaemon(t, world.DaemonConfig{Resolver: v.Addr})
			d := w.SignedDomain(t, "reach")
			var records strings.Builder
			for i := 1; i <= 6; i++ {
				name := fmt.Sprintf("mx%d.%s", i, d.Name)
				fmt.Fprintf(&records, "%s. 300 IN MX %d %s.\n", d.Name, c.preference(i), name)
				w.DNS.Add(fmt.Sprintf("%s. 300 IN A %s", name, w.Host()))
			}
			w.DNS.Set(d.Name, dns.TypeMX, records.String())
			w.DNS.Add(fmt.Sprintf("_25._tcp.mx6.%s. 300 IN TLSA 3 1 1 %s", d.Name, strings.Repeat("ab", 32)))
			d.Publish(t, "1", world.Text("enforce", "*."+d.Name))
			if got := daemon.Ask(t, "sts+dane", d.Name); !strings.HasPrefix(got, c.answer) {
				t.Errorf("the answer is %q, want %q", got, c.answer)
			}
		})
	}
}
