package dnsname

import "testing"

func TestViewIsParse(t *testing.T) {
	for _, in := range append(goodInputs(), badInputs()...) {
		want, err := Parse(in)
		v, ok := ParseView([]byte(in))
		if ok != (err == nil) || v.Name() != want || v.Lend() != want {
			t.Errorf("%.60q: view %q, %v, but Parse gives %q, %v", in, v.Name(), ok, want, err)
		}
	}
}

func goodInputs() (in []string) {
	for _, c := range goodNames {
		in = append(in, c.in)
	}
	return in
}

func badInputs() (in []string) {
	for _, c := range badNames {
		in = append(in, c.in)
	}
	return in
}

func TestNameOfAViewDoesNotChange(t *testing.T) {
	for _, in := range []string{"mx1.example.com", "example.com.", "xn--bcher-kva.example", "MX1.Example.com"} {
		want := MustParse(in)
		b := []byte(in)
		v, ok := ParseView(b)
		name := v.Name()
		clear(b)
		if !ok || name != want {
			t.Errorf("%q: the name is %q after the bytes are overwritten, want %q", in, name, want)
		}
	}
	if (View{}).Name() != (Name{}) {
		t.Error("the zero View is a name")
	}
}

// TestParseViewDoesNotAllocate: most of Postfix's keys are canonical names or addresses.
func TestParseViewDoesNotAllocate(t *testing.T) {
	for _, in := range [][]byte{
		[]byte("mx1.mail.example.com"), []byte("192.0.2.1"), []byte("localhost"), []byte(name253)} {
		if n := testing.AllocsPerRun(100, func() { ParseView(in) }); n != 0 {
			t.Errorf("%q: %v allocations", in, n)
		}
	}
}
