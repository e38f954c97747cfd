package contract

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// generator makes policy files, legal and hostile, always the same ones from one seed.
type generator struct {
	*rand.Rand
	made int
}

func newGenerator(seed uint64) *generator {
	return &generator{Rand: rand.New(rand.NewPCG(seed, 8461))}
}

// policy is the next policy file. Unless it is too hostile for that, mx is among the MX hosts that it names.
func (g *generator) policy(mx string) []byte {
	g.made++
	lines := []string{"version: STSv1", "mode: " + g.mode(), "mx: " + mx,
		fmt.Sprintf("max_age: %d", 86400+g.IntN(31557600))}
	for range g.few() {
		lines = append(lines, "mx: "+g.pattern())
	}
	for range g.few() {
		lines = append(lines, g.name()+":"+g.pick("", " ", "  ", "\t", " \t ")+g.value())
	}
	switch g.IntN(40) {
	case 0:
		lines = append(lines, g.hostile())
	case 1: // the largest that is allowed, or a bit more
		lines = append(lines, "long: "+strings.Repeat(g.pick("x", "x ", "{", "ä", "= "), 20_000+g.IntN(10_000)))
	case 2:
		for range 500 + g.IntN(1500) {
			lines = append(lines, "mx: "+g.pattern())
		}
	}
	g.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	body := []byte(g.join(lines))
	if g.IntN(4) == 0 {
		body = g.spoil(body)
	}
	return body
}

func (g *generator) mode() string {
	return g.pick("enforce", "enforce", "enforce", "enforce", "enforce", "testing", "none")
}

// few is mostly none, one or two.
func (g *generator) few() int { return g.IntN(3) * g.IntN(4) }

func (g *generator) pick(of ...string) string { return of[g.IntN(len(of))] }

// join ends lines as policies' publishers do.
func (g *generator) join(lines []string) string {
	end := g.pick("\n", "\r\n")
	var b strings.Builder
	for i, line := range lines {
		b.WriteString(line)
		b.WriteString(g.pick("", "", "", " ", "\t"))
		if i < len(lines)-1 || g.IntN(5) > 0 {
			b.WriteString(end)
		}
		if g.IntN(20) == 0 {
			b.WriteString(end)
		}
	}
	return b.String()
}

// pattern is an MX pattern in one of the forms that are allowed.
func (g *generator) pattern() string {
	label := strings.Repeat(g.pick("a", "mx-", "0", "MX"), 1+g.IntN(20)) + "1"
	host := label + "." + g.pick("example.test", "mail.example.test", "xn--bcher-kva.test", "bücher.test",
		"EXAMPLE.test", "例え.test")
	return g.pick("", "", "*.") + host + g.pick("", "", "", ".")
}

// name returns the name of an unknown field, or of one that the policy has already: the first one counts.
func (g *generator) name() string {
	return g.pick("x", "policy_string", "servername", "match", "a.b-c_d", "tls_report", strings.Repeat("n", 32),
		"version", "mode", "max_age", "policy_type", "0")
}

// value is what a publisher, or an attacker, may write into a field of their own.
func (g *generator) value() string {
	switch g.IntN(6) {
	case 0:
		return g.pick(injections...)
	case 1: // each byte has its turn, alone and beside others
		b := byte(g.made)
		return strings.ReplaceAll(g.pick("a_b", "_", "a _ b", "___", "{_}"), "_",
			g.pick(string([]byte{b}), string(rune(b))))
	case 2: // any bytes
		raw := make([]byte, 1+g.IntN(60))
		for i := range raw {
			raw[i] = byte(g.UintN(256))
		}
		return string(raw)
	case 3: // any characters
		var b strings.Builder
		for range 1 + g.IntN(60) {
			b.WriteRune(min(utf8.MaxRune, rune(' '+g.IntN(0x7ff>>g.IntN(6)<<g.IntN(11)))))
		}
		return b.String()
	case 4: // what means something to Postfix
		var b strings.Builder
		for range 1 + g.IntN(60) {
			b.WriteString(g.pick("{", "}", "=", " ", ",", ":", ";", "\"", "'", "\\", "$", "#", "%", "[", "]",
				"policy_string", "a"))
		}
		return b.String()
	default:
		return strings.Repeat(g.pick("v", "two words ", "= "), 1+g.IntN(400)) + "."
	}
}

// injections are values that would end an attribute, or begin another, in a reply that does not mind them.
var injections = []string{
	"x } servername=evil.test", "} { policy_string = x }", "{ x", "x }", "{", "}", "{}", "}{", "{ a = b }", "=", "= =",
	"a=b",
	"x policy_type=no-policy-found", "match=.test", "policy_ttl = 1", "x, y, z", "\"x", "'x'", "\\", "\\}", "x\\",
	"$(x)", "${x}", "%s%n",
	"x\u0085y", "x\u2028y", "x\u00a0y", "\ufeffx", "\u202ex", "x\u0000y", "x\u001fy", "x\u007fy", "\U000e0001x",
	"\ufffd", "\ufffe",
	"x\vy", "x\fy", "x\ry", "x\x1b[31my", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff",
}

// hostile is a line with which no policy is valid.
func (g *generator) hostile() string {
	return g.pick("mx: mail.example.test servername=evil.test", "mx: {mail.example.test}",
		"mx: mail.example.test:.evil.test",
		"mx: mail.example.test,evil.test", "mx: *", "mx: *.*.test", "mx: [192.0.2.1]",
		"mx: 2001:db8::1", "mx: ..", "mx:",
		"mx: -x.test", "mx: x_y.test", "mx: mail.example.test }", "mx: match=x", "mx: "+strings.Repeat("a", 64)+".test",
		"mx: \x00.test",
		"no colon", ": no name", "a b: x", strings.Repeat("n", 33)+": x", "\x00: x", "x:")
}

// spoil changes, removes or adds a few bytes anywhere.
func (g *generator) spoil(body []byte) []byte {
	for range 1 + g.IntN(3) {
		at := g.IntN(len(body))
		b := byte(g.UintN(256))
		switch g.IntN(3) {
		case 0:
			body[at] = b
		case 1:
			body = append(body[:at], body[at+1:]...)
		default:
			body = append(body[:at], append([]byte{b}, body[at:]...)...)
		}
	}
	return body
}

// TestGenerator checks that the generator is worth its name: enough of both kinds, and each byte in what is accepted.
func TestGenerator(t *testing.T) {
	g := newGenerator(1)
	var seen [256]int
	accepted := 0
	const all = 10_000
	for range all {
		body := g.policy("mx.example.test")
		if _, err := mtasts.ParsePolicy(body); err != nil {
			continue
		}
		accepted++
		for _, b := range body {
			seen[b]++
		}
	}
	t.Logf("%d of %d policies are accepted", accepted, all)
	if accepted < all/3 || accepted > all*2/3 {
		t.Errorf("%d of %d policies are accepted: too one-sided", accepted, all)
	}
	for b, n := range seen {
		// Control characters, and bytes that are in no UTF-8, make a policy invalid wherever they stand.
		control := b < ' ' && b != '\t' && b != '\r' && b != '\n' || b == 0x7f
		never := b == 0xc0 || b == 0xc1 || b >= 0xf5
		if (n > 0) == (control || never) {
			t.Errorf("byte %#02x is %d times in accepted policies", b, n)
		}
	}
}
