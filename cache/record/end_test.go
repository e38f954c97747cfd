package record

import (
	"errors"
	"testing"

	"github.com/stsmapd/stsmapd/cache/store/storetest"
)

func TestEnd(t *testing.T) {
	domain := storetest.Domain(1)
	key, end := domain.String(), EncodeEnd(domain, storetest.Clock())
	if got, err := DecodeEnd(key, end); err != nil || !got.Equal(storetest.Clock()) {
		t.Errorf("end: %v %v", got, err)
	}
	for _, c := range []struct {
		why    string
		newer  bool
		record []byte
	}{
		{why: "a policy", newer: true, record: mustEncode(t, failingEntry())},
		{why: "an end that was cut", record: end[:len(end)-1]},
	} {
		_, err := DecodeEnd(key, c.record)
		corrupt := (*CorruptError)(nil)
		if errors.Is(err, ErrVersion) != c.newer || errors.As(err, &corrupt) == c.newer {
			t.Errorf("%s: %v", c.why, err)
		}
	}
}

func TestNumber(t *testing.T) {
	whole := EncodeNumber("count", 1<<40)
	if n, ok := DecodeNumber("count", whole); !ok || n != 1<<40 {
		t.Errorf("%d %v", n, ok)
	}
	for bit := range 8 * len(whole) {
		b := append([]byte(nil), whole...)
		b[bit/8] ^= 1 << (bit % 8)
		if n, ok := DecodeNumber("count", b); ok {
			t.Fatalf("bit %d flipped: %d", bit, n)
		}
	}
	if _, ok := DecodeNumber("schema", whole); ok {
		t.Error("the number of another key")
	}
	if _, ok := DecodeNumber(storetest.Domain(1).String(), mustEncode(t, storetest.Entry(1, storetest.Clock()))); ok {
		t.Error("a policy is no number")
	}
}
