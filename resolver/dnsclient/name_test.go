package dnsclient

import (
	"strings"
	"testing"

	"github.com/miekg/dns"
)

var unescapeCases = []struct{ why, text, want string }{
	{"nothing to do", "v=STSv1; id=1", "v=STSv1; id=1"},
	{"empty", "", ""},
	{"quote", `\"`, `"`},
	{"backslash", `\\`, `\`},
	{"backslash before digits", `\\065`, `\065`},
	{"three digits", `a\000b\255`, "a\x00b\xff"},
	{"digits after three digits", `\0651`, "A1"},
	{"two digits are no number", `\06x`, "06x"},
	{"backslash at the end", `a\`, "a"},
}

func TestUnescape(t *testing.T) {
	for _, tc := range unescapeCases {
		if got := unescape(tc.text); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.why, got, tc.want)
		}
	}
}

// FuzzUnescape checks that unescape undoes the library's escaping of any TXT string.
func FuzzUnescape(f *testing.F) {
	for _, tc := range unescapeCases {
		f.Add(tc.text)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(unescape(s)) > len(s) {
			t.Fatalf("%q grew to %q", s, unescape(s))
		}
		if len(s) > 255 {
			return
		}
		wire := append([]byte("\x00\x00\x10\x00\x01\x00\x00\x00\x00\x00"), byte(len(s)+1), byte(len(s)))
		wire = append(wire, s...)
		wire[9] = byte((len(s) + 1) >> 8)
		rr, _, err := dns.UnpackRR(wire, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := decodeTXT(rr); got != s {
			t.Fatalf("%q came through the library as %q and out as %q", s, rr.(*dns.TXT).Txt, got)
		}
	})
}

func FuzzCanonical(f *testing.F) {
	for _, s := range []string{
		"", ".", "example.com", "EXAMPLE.com.", `a\.b\000c.example.com`, "a..b", `\`, `\1`, `a\`,
		strings.Repeat("a.", 127), "ä.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, ok := canonical(s)
		if !ok {
			return
		}
		if again, ok := canonical(name); !ok || again != name {
			t.Fatalf("%q is %q, which is %q, %v", s, name, again, ok)
		}
		if _, err := newQuery(question{name: name, qtype: dns.TypeTXT}).Pack(); err != nil {
			t.Fatalf("%q is %q, which no message can carry: %v", s, name, err)
		}
	})
}

func FuzzParseReply(f *testing.F) {
	query := newQuery(question{name: "example.com.", qtype: dns.TypeTXT})
	query.Id = 7
	for _, text := range []string{
		"example.com. TXT a", "example.com. CNAME b.example.com.\nb.example.com. 5 TXT c", ""} {
		m := new(dns.Msg).SetReply(query)
		for l := range strings.Lines(text) {
			rr, err := dns.NewRR(l)
			if err != nil {
				f.Fatal(err)
			}
			m.Answer = append(m.Answer, rr)
		}
		raw, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, fail := parseReply(raw, query)
		if m == nil {
			if fail != nil && fail.Kind != Malformed {
				t.Fatalf("kind %v", fail.Kind)
			}
			return
		}
		if m.Id != 7 || !m.Response {
			t.Fatalf("took %v for an answer", m)
		}
		got, fail := newFinding("example.com.").advance(m, dns.TypeTXT)
		if fail != nil {
			return
		}
		if !got.open && (len(got.records) > 0) == (got.denial != Exists) || len(got.chain) > maxLinks+1 || got.ttl < 0 {
			t.Fatalf("found %+v in %v", got, m)
		}
		for _, rr := range got.records {
			_ = decodeTXT(rr)
		}
	})
}
