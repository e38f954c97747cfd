package mtasts

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	for _, c := range []struct {
		why, body string
		want      []string // number, verdict, name, value, and the beginning of what is wrong
		missing   string
	}{
		{
			"a good policy", "version: STSv1\r\nmode: enforce\r\nmx: mx.example.com\r\nmx:\t*.example.net " +
				"\r\nmax_age: 86400\r\n",
			[]string{"1 ok version|STSv1", "2 ok mode|enforce", "3 ok mx|mx.example.com", "4 ok mx|*.example.net",
				"5 ok max_age|86400"}, "",
		},
		{
			"ignored lines (section 3.2)",
			"version: STSv1\n\nmode: testing\nmode: none\nx-new: {a}\nmx: mx.example.com\nmax_age: 1\nmax_age: 2",
			[]string{"1 ok version|STSv1", "2 blank |", "3 ok mode|testing", "4 repeated mode|none",
				"5 unknown x-new|{a}",
				"6 ok mx|mx.example.com", "7 ok max_age|1", "8 repeated max_age|2"}, "",
		},
		{
			"lines after a wrong one",
			"version: STSv1\nmode: Enforce\nmx: 192.0.2.1:25\nno colon\nmax_age: -1\nmx: mx.example.com\n",
			[]string{"1 ok version|STSv1", `2 wrong mode|Enforce mode is "Enforce"`,
				`3 wrong mx|192.0.2.1:25 mx "192.0.2.1:25" is neither`,
				`4 wrong | "no colon" has no colon`, `5 wrong max_age|-1 max_age is "-1"`, "6 ok mx|mx.example.com"},
			"the policy has no mode field",
		},
		{"nothing", "", nil, "the policy has no version field"},
		{
			"a repeated field must keep the grammar too", "version: STSv1\nversion: \x01\n",
			[]string{"1 ok version|STSv1",
				`2 wrong version|` + "\x01" + ` the value of "version" has a control character`},
			"the policy has no mode field",
		},
	} {
		lines, missing := Explain([]byte(c.body))
		if missing != c.missing {
			t.Errorf("%s: missing %q, want %q", c.why, missing, c.missing)
		}
		if len(lines) != len(c.want) {
			t.Errorf("%s: %d lines, want %d: %+v", c.why, len(lines), len(c.want), lines)
			continue
		}
		for i, l := range lines {
			got := strings.TrimSpace(fmt.Sprintf("%d %v %s|%s %s", l.Number, l.Verdict, l.Name, l.Value, l.Msg))
			if !strings.HasPrefix(got, c.want[i]) || (l.Msg == "") != (got == c.want[i]) {
				t.Errorf("%s: line %q, want %q", c.why, got, c.want[i])
			}
		}
	}
}

// FuzzExplain checks that Explain agrees with ParsePolicy.
func FuzzExplain(f *testing.F) {
	f.Add([]byte("version: STSv1\r\nmode: enforce\r\nmx: mx.example.com\r\nmax_age: 86400\r\n"))
	f.Add([]byte("version: STSv1\nmode: none\nmode: Enforce\n\n\tmx: a\nmax_age: 1"))
	f.Add([]byte("mode: x\nmax_age: 99999999999\nversion: STSv2\nmx:"))
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > maxBody {
			return
		}
		lines, missing := Explain(body)
		var want *SyntaxError
		for _, l := range lines {
			if (l.Msg != "") != (l.Verdict == LineWrong) {
				t.Fatalf("line %+v", l)
			}
			if l.Verdict == LineWrong && want == nil {
				want = &SyntaxError{Line: l.Number, Msg: l.Msg}
			}
		}
		if want == nil && missing != "" {
			want = &SyntaxError{Msg: missing}
		}
		_, err := ParsePolicy(body)
		var got *SyntaxError
		if errors.As(err, &got); (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("ParsePolicy says %v, Explain %v", got, want)
		}
	})
}
