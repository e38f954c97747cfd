package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"
	"unicode/utf8"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/dnsname"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// A record is what a store keeps under a domain's name:
//
//	byte 0     recordMagic
//	byte 1     version
//	bytes 2-5  CRC-32C, little endian, over the key, bytes 0 and 1, and the payload
//	payload    by version
//
// These six bytes are the same in every version, so that an older stsmapd can tell a newer record from a damaged one.
// The payload of version 1, integers little endian, times in milliseconds since 1970 UTC:
//
//	fetched, checked, used        3 × 8 bytes
//	id                            1 byte length, text
//	trouble                       1 byte, 0 (and nothing more) or 1 and:
//	  failures                    4 bytes
//	  since, retry at, alerted    3 × 8 bytes
//	  id                          1 byte length, text
//	  reason                      2 bytes length, text
//	policy as served              4 bytes length, text
//
// Version 2 is version 1 and, at the end, the name of the host that fetched the policy: 1 byte length, text. It is written where
// there is such a name. What a fleet keeps besides policies has versions of its own (shared_value.go).
const (
	recordMagic   = 0xB5
	recordPlain   = 1
	recordVersion = 2 // the newest
	recordHeader  = 6

	maxID     = math.MaxUint8 // bytes; the grammar allows 32 (RFC 8461 section 3.1)
	maxReason = 1 << 10       // bytes; a longer reason is cut
	maxText   = 64 << 10      // bytes of a policy (RFC 8461 section 3.3)
	maxOrigin = 64            // bytes of a host's name (Linux has no longer ones)
)

// CorruptError: a record is not what was written, or no longer makes sense. The caller drops the record, counts it, and
// discovers the domain's policy anew.
type CorruptError struct {
	Key string // the record's key: the domain's name, unless it is the key that was damaged
	Msg string
}

// Error implements error.
func (e *CorruptError) Error() string { return fmt.Sprintf("damaged record of %q: %s", e.Key, e.Msg) }

// ErrVersion: a record was written by a newer stsmapd, or is of a kind that only an older one wrote. The caller keeps it, and goes
// on as if nothing were cached.
var ErrVersion = errors.New("record of another version of stsmapd")

// encode makes the record of an entry. It fails only on an entry that no parser made: without domain or policy, or with a
// field beyond its bounds.
func encode(e resolver.Entry) ([]byte, error) {
	switch {
	case e.Domain.IsZero():
		return nil, errors.New("entry without a domain")
	case e.Policy.Text == "" || len(e.Policy.Text) > maxText:
		return nil, fmt.Errorf("entry of %s: a policy of %d bytes", e.Domain, len(e.Policy.Text))
	case len(e.ID) > maxID || len(e.Failures.ID) > maxID:
		return nil, fmt.Errorf("entry of %s: an id of more than %d bytes", e.Domain, maxID)
	case e.Origin != "" && !ValidHost(e.Origin):
		return nil, fmt.Errorf("entry of %s: a host's name of %.100q", e.Domain, e.Origin)
	}
	b := make([]byte, recordHeader, recordHeader+3*8+1+len(e.ID)+1+4+len(e.Policy.Text))
	b[0], b[1] = recordMagic, recordPlain
	b = appendTimes(b, e.Fetched, e.Checked, e.Used)
	b = append(append(b, byte(len(e.ID))), e.ID...)
	b = appendTrouble(b, e.Failures)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(e.Policy.Text)))
	b = append(b, e.Policy.Text...)
	if e.Origin != "" {
		b[1] = recordVersion
		b = append(append(b, byte(len(e.Origin))), e.Origin...)
	}
	seal(e.Domain.String(), b)
	return b, nil
}

// ValidHost reports whether a host of a fleet can have this name: 1 to 64 letters, digits, dots, hyphens and underscores.
func ValidHost(name string) bool {
	for i := range len(name) {
		c := name[i]
		if c != '.' && c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return name != "" && len(name) <= maxOrigin
}

func appendTimes(b []byte, times ...time.Time) []byte {
	for _, t := range times {
		b = binary.LittleEndian.AppendUint64(b, uint64(t.UnixMilli()))
	}
	return b
}

func appendTrouble(b []byte, t resolver.FetchFailures) []byte {
	if t == (resolver.FetchFailures{}) {
		return append(b, 0)
	}
	b = append(b, 1)
	b = binary.LittleEndian.AppendUint32(b, uint32(min(max(t.Count, 0), math.MaxInt32)))
	b = appendTimes(b, t.Since, t.RetryAt, t.Alerted)
	b = append(append(b, byte(len(t.ID))), t.ID...)
	reason := cutText(t.Reason, maxReason)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(reason)))
	return append(b, reason...)
}

// cutText is the longest prefix of s that has at most n bytes and ends with a whole character.
func cutText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// seal writes the checksum into a record.
func seal(key string, record []byte) {
	binary.LittleEndian.PutUint32(record[2:], checksum(key, record))
}

func checksum(key string, record []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli) // made once by the library
	sum := crc32.Checksum([]byte(key), table)
	sum = crc32.Update(sum, table, record[:2])
	return crc32.Update(sum, table, record[recordHeader:])
}

// frame checks what all versions have in common and returns what is inside. Every error is a *CorruptError.
func frame(key string, record []byte) (version byte, payload []byte, err error) {
	switch {
	case len(record) < recordHeader:
		return 0, nil, &CorruptError{key, "shorter than its header"}
	case record[0] != recordMagic:
		return 0, nil, &CorruptError{key, "does not begin as a record"}
	case binary.LittleEndian.Uint32(record[2:]) != checksum(key, record):
		return 0, nil, &CorruptError{key, "the checksum does not match"}
	}
	return record[1], record[recordHeader:], nil
}

// openRecord returns the fields of a policy's record. The errors are *CorruptError and ErrVersion.
func openRecord(key string, record []byte) (fields, error) {
	version, payload, err := frame(key, record)
	if err == nil && version != recordPlain && version != recordVersion {
		err = ErrVersion
	}
	return fields{version: version, rest: payload}, err
}

// recordFetched returns when the policy in a record was fetched, without reading the rest.
func recordFetched(key string, record []byte) (time.Time, error) {
	r, err := openRecord(key, record)
	if err != nil {
		return time.Time{}, err
	}
	fetched := r.time()
	if r.bad != "" {
		return time.Time{}, &CorruptError{key, r.bad}
	}
	return fetched, nil
}

// decode reads the record of a domain. The errors are *CorruptError and ErrVersion. Nothing of the entry points into record.
func decode(key string, record []byte) (resolver.Entry, error) {
	r, err := openRecord(key, record)
	if err != nil {
		return resolver.Entry{}, err
	}
	domain, err := dnsname.Parse(key)
	if err != nil || domain.String() != key {
		return resolver.Entry{}, &CorruptError{key, "the key is no domain"}
	}
	e := resolver.Entry{Domain: domain, Fetched: r.time(), Checked: r.time(), Used: r.time(), ID: r.text(r.uint(1), maxID)}
	e.Failures = r.trouble()
	text := r.bytes(r.uint(4), maxText)
	if r.version == recordVersion {
		if e.Origin = r.text(r.uint(1), maxOrigin); r.bad == "" && !ValidHost(e.Origin) {
			r.bad = "from a host without a name"
		}
	}
	if r.bad == "" && len(r.rest) > 0 {
		r.bad = "longer than its fields"
	}
	if r.bad != "" {
		return resolver.Entry{}, &CorruptError{key, r.bad}
	}
	if e.Policy, err = mtasts.ParsePolicy(text); err != nil {
		return resolver.Entry{}, &CorruptError{key, "the policy in it is not valid: " + err.Error()}
	}
	return e, nil
}

// fields takes a payload apart. After the first field that does not fit, bad says so and all others are zero.
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

func (r *fields) time() time.Time {
	b := r.bytes(8, 8)
	if b == nil {
		return time.Time{}
	}
	return time.UnixMilli(int64(binary.LittleEndian.Uint64(b))).UTC()
}

func (r *fields) trouble() resolver.FetchFailures {
	switch mark := r.uint(1); {
	case mark == 0:
		return resolver.FetchFailures{}
	case mark > 1 && r.bad == "":
		r.bad = "neither with nor without trouble"
	}
	return resolver.FetchFailures{
		Count: int(min(r.uint(4), math.MaxInt32)),
		Since: r.time(), RetryAt: r.time(), Alerted: r.time(),
		ID:     r.text(r.uint(1), maxID),
		Reason: r.text(r.uint(2), maxReason),
	}
}
