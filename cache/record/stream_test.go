package record

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stsmapd/stsmapd/cache/store/storetest"
)

// sampleStream is a stream of n policies, of which some are large.
func sampleStream(t testing.TB, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(&b)
	for i := range n {
		e := storetest.Entry(i, storetest.Clock())
		if i%20 == 3 {
			e.Policy = storetest.Policy(60_000)
		}
		w.Write(e.Domain.String(), mustEncode(t, e))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// readStream returns the numbers of the policies that can be read, and fails on one that was never written.
func readStream(t testing.TB, b []byte) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for key, record := range Read(bytes.NewReader(b), int64(len(b))) {
		if _, err := Decode(key, record); err != nil || found[key] {
			t.Errorf("%s: %v, or twice", key, err)
		}
		found[key] = true
	}
	return found
}

func TestStream(t *testing.T) {
	const n = 100
	whole := sampleStream(t, n)
	for _, c := range []struct {
		why   string
		spoil func(b []byte) []byte
		least int
	}{
		{"whole", func(b []byte) []byte { return b }, n},
		{"empty", func([]byte) []byte { return nil }, 0},
		{"the mark at the begin", func(b []byte) []byte { b[3] ^= 1; return b }, n},
		{"the mark at the end", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, n},
		{"cut in the middle", func(b []byte) []byte { return b[:len(b)/2] }, n / 3},
		{"cut in the last mark", func(b []byte) []byte { return b[:len(b)-3] }, n},
		{"the length of the first record", func(b []byte) []byte { b[2*markSize+1] ^= 0x80; return b }, n - 1},
		{"the length of the first key", func(b []byte) []byte { b[2*markSize] = 250; return b }, n - 1},
		{"a stretch of zeros", func(b []byte) []byte { clear(b[len(b)/2 : len(b)/2+2000]); return b }, n - 20},
		{"no stream", func(b []byte) []byte { return bytes.Repeat([]byte("no snapshot\n"), 20_000) }, 0},
	} {
		found := readStream(t, c.spoil(bytes.Clone(whole)))
		if len(found) < c.least || c.least == 0 && len(found) > 0 {
			t.Errorf("%s: %d of %d, want %d", c.why, len(found), n, c.least)
		}
	}
	for seed := range uint64(200) {
		b, random := bytes.Clone(whole), rand.New(rand.NewPCG(seed, 7))
		const hits = 5
		for range hits {
			b[random.IntN(len(b))] = byte(random.Uint32())
		}
		if found := readStream(t, b); len(found) < n-2*hits {
			t.Errorf("seed %d: %d bytes changed, %d of %d left", seed, hits, len(found), n)
		}
	}
}

// TestStreamBelievesNoPolicy: a policy's text that is a stream itself is read as what it is.
func TestStreamBelievesNoPolicy(t *testing.T) {
	inner := sampleStream(t, 1)
	outer := EncodeEnd(storetest.Domain(7), storetest.Clock())
	outer = append(outer, inner...)
	Seal("outer.example", outer)
	var b bytes.Buffer
	w := NewWriter(&b)
	w.Write("outer.example", outer)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b.Bytes()[3*markSize] ^= 1 // the outer one is damaged: its key
	for key := range Read(bytes.NewReader(b.Bytes()), int64(b.Len())) {
		t.Errorf("believed: %q", key)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(sampleStream(f, 5))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		for key, record := range Read(bytes.NewReader(b), int64(len(b))) {
			if _, err := open(key, record); err != nil {
				t.Errorf("%q: %v", key, err)
			}
			n += len(key) + len(record)
		}
		if n > len(b) {
			t.Error(fmt.Sprint(n, " bytes of ", len(b)))
		}
	})
}
