package shared

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cache/record"
	"github.com/stsmapd/stsmapd/cache/store/storetest"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

func sampleValues(t testing.TB) []value {
	at := storetest.Clock()
	policy, err := policyValue(at, failingEntry(), "a.example")
	if err != nil {
		t.Fatal(err)
	}
	domain := failingEntry().Domain
	return []value{policy, endedValue(domain, at)}
}

// TestValueFindsEveryBit flips each bit of each kind of value.
func TestValueFindsEveryBit(t *testing.T) {
	domain := failingEntry().Domain.String()
	for _, v := range sampleValues(t) {
		if _, err := decodeValue(domain, v.text); err != nil {
			t.Errorf("%q: %v", v.text, err)
		}
		for bit := range 8 * len(v.text) {
			damaged := []byte(v.text)
			damaged[bit/8] ^= 1 << (bit % 8)
			if got, err := decodeValue(domain, string(damaged)); err == nil {
				t.Errorf("bit %d of %c flipped: %+v", bit, v.kind, got)
			}
		}
		if got, err := decodeValue("other.example", v.text); err == nil {
			t.Errorf("another domain's %c: %+v", v.kind, got)
		}
	}
}

func FuzzValue(f *testing.F) {
	domain := failingEntry().Domain.String()
	for _, v := range sampleValues(f) {
		f.Add(domain, v.text)
	}
	f.Add(domain, "P 1 ")
	f.Fuzz(func(t *testing.T, domain, text string) {
		checkValue(t, domain, text)
		// With a right checksum, and the right time before it, the fuzzer gets further.
		kind, rest, _ := strings.Cut(text, " ")
		_, text, found := strings.Cut(rest, " ")
		if !found || len(text) < record.HeaderSize {
			return
		}
		sealed := bytes.Clone([]byte(text))
		record.Seal(domain, sealed)
		for _, at := range timesIn(sealed) {
			checkValue(t, domain, fmt.Sprintf("%s %d %s", kind, at, sealed))
		}
	})
}

// timesIn are the times that may have to stand before a record.
func timesIn(sealed []byte) []int64 {
	var times []int64
	if len(sealed) >= record.HeaderSize+8 {
		times = append(times, int64(binary.LittleEndian.Uint64(sealed[record.HeaderSize:])))
	}
	return times
}

// checkValue: what is believed is a domain's own, and sound; else the error has its type.
func checkValue(t *testing.T, domain, text string) {
	got, err := decodeValue(domain, text)
	if err != nil {
		c := (*record.CorruptError)(nil)
		if !errors.As(err, &c) && !errors.Is(err, record.ErrVersion) {
			t.Errorf("decodeValue(%q, %q): %v", domain, text, err)
		}
		if got.Entry != nil || !got.Ended.IsZero() {
			t.Errorf("with an error: %+v", got)
		}
		return
	}
	if e := got.Entry; e != nil {
		if e.Domain.String() != domain || e.Policy.Mode == 0 || e.Origin != "" && !record.ValidHost(e.Origin) {
			t.Errorf("decodeValue(%q, %q) = %+v", domain, text, e)
		}
		again, err := policyValue(time.Now(), *e, "a.example")
		if err != nil {
			t.Errorf("it cannot be passed on: %v", err)
		}
		if back, err := decodeValue(domain, again.text); err != nil || !back.Entry.Fetched.Equal(e.Fetched) ||
			back.Entry.Policy.Text != e.Policy.Text {
			t.Errorf("passed on it is %+v, %v", back, err)
		}
	}
}

func FuzzMessage(f *testing.F) {
	f.Add(message(senderName(0xfeed), dnsname.MustParse("a.example")))
	f.Add("1 0123456789abcdef A.example")
	f.Fuzz(func(t *testing.T, text string) {
		sender, domain, err := parseMessage(text)
		if err != nil {
			if !errors.Is(err, errMessage) || !domain.IsZero() {
				t.Errorf("%q: %v, %v", text, domain, err)
			}
			return
		}
		if message(sender, domain) != text {
			t.Errorf("%q is read as %q, %v", text, sender, domain)
		}
	})
}

func FuzzSlot(f *testing.F) {
	for _, s := range []slot{
		{slotClaim, storetest.Clock(), senderName(0xfeed)}, {slotFailed, storetest.Clock(), "mail-a.example"}} {
		f.Add(s.String())
	}
	f.Add("1 F 01 mail-a")
	f.Add("2 F 1 mail-a")
	f.Add("1 F 9223372036854775807 mail-a")
	f.Fuzz(func(t *testing.T, text string) {
		s, ok := parseSlot(text)
		if ok && (s.String() != text || !record.ValidHost(s.word) || s.at.Before(time.UnixMilli(0))) {
			t.Errorf("%q is read as %+v", text, s)
		}
		for _, a := range failedAttempts([]string{text}) {
			if !ok || s.state != slotFailed || a.Host != s.word || !a.At.Equal(s.at) {
				t.Errorf("%q is an attempt: %+v", text, a)
			}
		}
	})
}
