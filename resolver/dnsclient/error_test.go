package dnsclient

import (
	"errors"
	"strings"
	"testing"
)

// TestKindString: the words are metric labels.
func TestKindString(t *testing.T) {
	want := map[Kind]string{
		Timeout: "timeout", ServerFailure: "server failure", Network: "network", Malformed: "malformed",
		Lame: "lame", CNAMELoop: "cname loop", Cancelled: "cancelled", 0: "Kind(0)", 200: "Kind(200)",
	}
	for k, s := range want {
		if k.String() != s {
			t.Errorf("Kind %d: got %q, want %q", uint8(k), k.String(), s)
		}
	}
}

func TestErrorText(t *testing.T) {
	for _, tc := range []struct {
		why  string
		err  Error
		want string
	}{
		{"before any server was asked",
			Error{Name: "a.example", Type: "MX", Kind: Cancelled, Err: errors.New("context canceled")},
			"MX a.example: cancelled while waiting for the DNS server: context canceled"},
		{"a loop is nobody's but the domain's",
			Error{Name: "a.example", Type: "MX", Target: "b.example", Server: "192.0.2.1:53", Attempts: 1,
				Kind: CNAMELoop, Detail: "at a.example"},
			"MX a.example: at its CNAME target b.example: CNAME loop or chain of more than 8 links (at a.example)"},
		{"a referral", Error{Name: "a.example", Type: "MX", Server: "192.0.2.1:53", Attempts: 3, Kind: Lame},
			"MX a.example: 192.0.2.1:53 is not a recursive resolver: it answered with a referral; 3 attempts"},
		{"no kind", Error{Name: "a.example", Type: "MX"}, "MX a.example: no answer from the DNS server"},
	} {
		if got := tc.err.Error(); got != tc.want || strings.Contains(got, "\n") {
			t.Errorf("%s: got %q, want %q", tc.why, got, tc.want)
		}
	}
}
