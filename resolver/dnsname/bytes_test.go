package dnsname

import "testing"

func TestParseBytesIsParse(t *testing.T) {
	var inputs []string
	for _, c := range goodNames {
		inputs = append(inputs, c.in)
	}
	for _, c := range badNames {
		inputs = append(inputs, c.in)
	}
	for _, in := range inputs {
		want, err := Parse(in)
		b := []byte(in)
		got, ok := ParseBytes(b)
		clear(b)
		if ok != (err == nil) || got != want {
			t.Errorf("%.60q: %q, %v, but Parse gives %q, %v", in, got, ok, want, err)
		}
	}
}

// TestParseBytesAllocatesOnce: Postfix asks for names in their one form, and for addresses.
func TestParseBytesAllocatesOnce(t *testing.T) {
	for _, in := range [][]byte{
		[]byte("mx1.mail.example.com"), []byte("192.0.2.1"), []byte("localhost"), []byte(name253)} {
		if n := testing.AllocsPerRun(100, func() { ParseBytes(in) }); n > 1 {
			t.Errorf("%q: %v allocations", in, n)
		}
	}
}
