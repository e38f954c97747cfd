package record

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
)

// fields takes a payload apart. After the first field that does not fit, bad says why and all others are zero.
type fields struct {
	version byte
	rest    []byte
	bad     string
}

func (r *fields) bytes(n uint32, most int) []byte {
	if r.bad == "" && (int64(n) > int64(most) || int64(n) > int64(len(r.rest))) {
		r.bad = "shorter than its fields"
	}
	if r.bad != "" {
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *fields) text(n uint32, most int) string { return string(r.bytes(n, most)) }

// uint reads an integer of 1, 2 or 4 bytes.
func (r *fields) uint(size uint32) uint32 {
	var n uint32
	for i, c := range r.bytes(size, 4) {
		n |= uint32(c) << (8 * i)
	}
	return n
}

func (r *fields) uint64() (n uint64, ok bool) {
	b := r.bytes(8, 8)
	if b == nil {
		return 0, false
	}
	return binary.LittleEndian.Uint64(b), true
}

func (r *fields) time() time.Time {
	millis, ok := r.uint64()
	if !ok {
		return time.Time{}
	}
	return time.UnixMilli(int64(millis)).UTC()
}

func (r *fields) failures() resolver.FetchFailures {
	switch mark := r.uint(1); {
	case mark == 0:
		return resolver.FetchFailures{}
	case mark > 1 && r.bad == "":
		r.bad = "neither with nor without failures"
	}
	return resolver.FetchFailures{
		Count: int(min(r.uint(4), math.MaxInt32)),
		Since: r.time(), RetryAt: r.time(), Alerted: r.time(),
		ID:     r.text(r.uint(1), maxID),
		Reason: r.text(r.uint(2), maxReason),
	}
}

// end is the error of a record that should have been read to its end.
func (r *fields) end(key string) error {
	if r.bad == "" && len(r.rest) > 0 {
		r.bad = "longer than its fields"
	}
	if r.bad != "" {
		return &CorruptError{key, r.bad}
	}
	return nil
}
