package record

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/cache/store/storetest"
	"github.com/stsmapd/stsmapd/resolver"
)

// failingEntry is an entry with every field set, with times to the millisecond.
func failingEntry() resolver.Entry {
	at := storetest.Clock().Add(123 * time.Millisecond)
	e := storetest.Entry(1, at)
	e.Failures = resolver.FetchFailures{
		Count: 3, ID: "20260101", Since: at, RetryAt: at.Add(time.Hour), Reason: "HTTPS: certificate expired"}
	return e
}

func mustEncode(t testing.TB, e resolver.Entry) []byte {
	t.Helper()
	record, err := Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	return record
}

// same reports whether two entries are equal in all but the resolution of times.
func same(a, b resolver.Entry) bool {
	return storetest.Equal(a, b) && a.Fetched.UnixMilli() == b.Fetched.UnixMilli() &&
		a.Failures.Alerted == b.Failures.Alerted
}

func TestCodecRoundTrip(t *testing.T) {
	for why, e := range map[string]resolver.Entry{
		"with failures":    failingEntry(),
		"without failures": storetest.Entry(2, storetest.Clock()),
		"zero times":       {Domain: storetest.Domain(3), Policy: storetest.Policy(0)},
		"before 1970":      storetest.Entry(4, time.Date(1903, 1, 1, 0, 0, 0, 1e6, time.UTC)),
		"of another host":  {Domain: storetest.Domain(6), Policy: storetest.Policy(0), Origin: "mail-2.example"},
		"often used": {Domain: storetest.Domain(7), Policy: storetest.Policy(0), UsedDays: 65535,
			Network: 1 << 63},
		"large": {Domain: storetest.Domain(5), Policy: storetest.Policy(64000)},
	} {
		record := mustEncode(t, e)
		got, err := Decode(e.Domain.String(), record)
		if err != nil || !same(e, got) {
			t.Errorf("%s: %+v %v", why, got, err)
		}
		if fetched, err := Fetched(e.Domain.String(), record); err != nil || !fetched.Equal(got.Fetched) {
			t.Errorf("%s: fetched %v %v", why, fetched, err)
		}
		clear(record) // what was read must not point into it
		if !same(e, got) {
			t.Errorf("%s: the entry changed with the record", why)
		}
	}
}

// TestCodecFindsEveryBit flips each bit of a record and of its key.
func TestCodecFindsEveryBit(t *testing.T) {
	e := failingEntry()
	key, record := e.Domain.String(), mustEncode(t, e)
	for bit := range 8 * (len(key) + len(record)) {
		damaged := append([]byte(key), record...)
		damaged[bit/8] ^= 1 << (bit % 8)
		got, err := Decode(string(damaged[:len(key)]), damaged[len(key):])
		c := (*CorruptError)(nil)
		if !errors.As(err, &c) || c.Key != string(damaged[:len(key)]) {
			t.Fatalf("bit %d flipped: %+v %v", bit, got, err)
		}
	}
}

// records that carry a right checksum and are wrong all the same.
func wrongRecords(t testing.TB) []struct{ why, key, wrong string } {
	e := failingEntry()
	key := e.Domain.String()
	whole := mustEncode(t, e)
	quiet := e
	quiet.Failures = resolver.FetchFailures{}
	calm := mustEncode(t, quiet)
	sealed := func(key string, record []byte) string {
		record = bytes.Clone(record)
		Seal(key, record)
		return string(record)
	}
	at := func(record []byte, i int, c byte) []byte {
		record = bytes.Clone(record)
		record[i] = c
		return record
	}
	mark := HeaderSize + 3*8 + 1 + len(e.ID)
	return []struct{ why, key, wrong string }{
		{"empty", key, ""},
		{"shorter than its header", key, "\xb5\x01\x00"},
		{"another magic", key, sealed(key, at(whole, 0, 'S'))},
		{"nothing after the header", key, sealed(key, whole[:HeaderSize])},
		{"cut in the times", key, sealed(key, whole[:HeaderSize+20])},
		{"cut in the id", key, sealed(key, whole[:mark-1])},
		{"cut in the failures", key, sealed(key, whole[:mark+10])},
		{"cut at the end", key, sealed(key, whole[:len(whole)-1])},
		{"cut in the policy", key, sealed(key, whole[:len(whole)-12])},
		{"longer than its fields", key, sealed(key, append(bytes.Clone(whole), 0))},
		{"half of the failures", key, sealed(key, at(calm, mark, 2))},
		{"a policy that is none", key, sealed(key, bytes.Replace(whole, []byte("STSv1"), []byte("STSv2"), 1))},
		{"another domain's record", "other.example", string(whole)},
		{"a key that is no name", "no name", sealed("no name", whole)},
		{"a key in capitals", "EXAMPLE.COM", sealed("EXAMPLE.COM", whole)},
		{"a key with a final dot", "example.com.", sealed("example.com.", whole)},
	}
}

func TestCodecRefuses(t *testing.T) {
	for _, c := range wrongRecords(t) {
		e, err := Decode(c.key, []byte(c.wrong))
		corrupt := (*CorruptError)(nil)
		if !errors.As(err, &corrupt) || corrupt.Key != c.key {
			t.Errorf("%s: %+v %v", c.why, e, err)
		}
	}
}

func TestCodecTellsNewerFromDamaged(t *testing.T) {
	key := storetest.Domain(1).String()
	newer := []byte{magic, versionUsage + 1, 0, 0, 0, 0, 1, 2, 3}
	Seal(key, newer)
	if _, err := Decode(key, newer); !errors.Is(err, ErrVersion) {
		t.Errorf("newer: %v", err)
	}
	newer[7] ^= 1
	if _, err := Decode(key, newer); errors.Is(err, ErrVersion) || err == nil {
		t.Errorf("newer and damaged: %v", err)
	}
}

// TestCodecReadsOlderVersions: what an earlier stsmapd wrote is read, without what it did not know.
func TestCodecReadsOlderVersions(t *testing.T) {
	e := failingEntry()
	key, whole := e.Domain.String(), mustEncode(t, e)
	plain := whole[:len(whole)-11] // used days, no network, no host
	for version, payload := range map[byte]string{versionPlain: "", versionOrigin: "\x06mail-2"} {
		older := append(bytes.Clone(plain), payload...)
		older[1] = version
		Seal(key, older)
		want := e
		if payload != "" {
			want.Origin = payload[1:]
		}
		if got, err := Decode(key, older); err != nil || !same(want, got) {
			t.Errorf("version %d: %+v %v", version, got, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	e := failingEntry()
	f.Add(e.Domain.String(), mustEncode(f, e))
	e.Origin, e.UsedDays, e.Network = "mail-2.example", 7, 1<<63
	f.Add(e.Domain.String(), mustEncode(f, e))
	f.Add("b.example", mustEncode(f, storetest.Entry(2, storetest.Clock())))
	for _, c := range wrongRecords(f) {
		f.Add(c.key, []byte(c.wrong))
	}
	f.Fuzz(func(t *testing.T, key string, record []byte) {
		checkDecode(t, key, record)
		if len(record) >= HeaderSize { // with a right checksum the fuzzer gets further
			record = bytes.Clone(record)
			Seal(key, record)
			checkDecode(t, key, record)
		}
	})
}

// checkDecode: what can be decoded is an entry that can be encoded and decoded to the same; else the error has its
// type.
func checkDecode(t *testing.T, key string, record []byte) {
	t.Helper()
	e, err := Decode(key, record)
	if err != nil {
		c := (*CorruptError)(nil)
		if !errors.As(err, &c) && !errors.Is(err, ErrVersion) {
			t.Errorf("decode(%q, %q): %v", key, record, err)
		}
		return
	}
	if e.Domain.String() != key || e.Policy.Mode == 0 || len(e.Policy.Text) > maxText ||
		len(e.Failures.Reason) > maxReason {
		t.Errorf("decode(%q): %+v", key, e)
	}
	again, err := Decode(key, mustEncode(t, e))
	if err != nil || !same(e, again) {
		t.Errorf("decode(%q) = %+v, encoded and decoded again: %+v %v", key, e, again, err)
	}
}
