package mtasts

import (
	"testing"
	"time"
)

// TestLaxerThanTheGrammar has everything that the parsers accept although RFC 8461's ABNF does not. Publishers write it
// by mistake, it can be read in one way only, and to refuse it would do nothing but leave their mail unprotected.
func TestLaxerThanTheGrammar(t *testing.T) {
	const good = "version: STSv1\nmode: enforce\nmx: mail.example.com\nmax_age: 604800\n"
	for _, c := range []struct{ policy, mx, why string }{
		{"version: STSv1\n\nmode: enforce\n \t\nmx: mail.example.com\nmax_age: 604800\n\n", "mail.example.com",
			"3.2 has no blank lines: they say nothing"},
		{"version: STSv1 \nmode: enforce\t\nmx: mail.example.com \nmax_age: 604800 \r\n", "mail.example.com",
			"3.2 has no white space at the end of lines: nobody sees it"},
		{"version: STSv1\nmode: enforce\nmx: mail.example.com.\nmax_age: 604800\n", "mail.example.com",
			"RFC 5321's Domain has no final dot: zone files do, and it names the same host"},
		{"version: STSv1\nmode: enforce\nmx: mail.bücher.example\nmax_age: 604800\n", "mail.xn--bcher-kva.example",
			"3.2 wants A-labels: a U-label has exactly one"},
		{good[:len(good)-1], "mail.example.com", "the last line may end with the file"},
	} {
		p, err := ParsePolicy([]byte(c.policy))
		if err != nil || patterns(p) != c.mx || p.Mode != ModeEnforce || p.MaxAge != 604800*time.Second {
			t.Errorf("%s: %v %s %v, %v", c.why, p.Mode, patterns(p), p.MaxAge, err)
		}
	}
	for _, c := range []struct{ record, why string }{
		{"v=STSv1; id=1 ", "3.1 has no white space after the last field: nobody sees it"},
		{"v=STSv1; id=1 ; ", "nor after its semicolon"},
	} {
		if r, err := ParseRecord([]string{c.record}); err != nil || r.ID != "1" {
			t.Errorf("%s: %+v, %v", c.why, r, err)
		}
	}
}

// TestLongMaxAgeIsCapped: more than a year is no error (3.2 names the largest value, erratum 7282 more digits). A
// publisher who asks for more protection than there is gets what there is; to refuse the policy would give none.
func TestLongMaxAgeIsCapped(t *testing.T) {
	const year = 31557600 * time.Second
	for text, want := range map[string]time.Duration{
		"31557599": year - time.Second, "31557600": year, "31557601": year, "63072000": year, "9999999999": year,
	} {
		p, err := ParsePolicy([]byte("version: STSv1\nmode: enforce\nmx: mail.example.com\nmax_age: " + text + "\n"))
		if err != nil || p.MaxAge != want {
			t.Errorf("max_age %s: %v, %v; want %v", text, p.MaxAge, err, want)
		}
	}
}
