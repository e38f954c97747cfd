// Package record is the one codec of what stsmapd keeps of a domain outside its memory: in the store's file, in its
// snapshot and in the shared engine.
//
// A record is kept under a key, the domain's name:
//
//	byte 0     0xB5
//	byte 1     version
//	bytes 2-5  CRC-32C, little endian, over the key, bytes 0 and 1, and the payload
//	payload    by version
//
// These six bytes are the same in every version, so that an older stsmapd can tell a newer record from a damaged one.
// The payload of version 1, integers little endian, times in milliseconds since 1970 UTC:
//
//	fetched, checked, used        3 × 8 bytes
//	id                            1 byte length, text
//	failures                      1 byte, 0 (and nothing more) or 1 and:
//	  failures                    4 bytes
//	  since, retry at, alerted    3 × 8 bytes
//	  id                          1 byte length, text
//	  reason                      2 bytes length, text
//	policy as served              4 bytes length, text
//
// Version 2 is version 1 and, at the end, the name of the host that fetched the policy: 1 byte length, text. Version 3,
// which is written, is version 1 and, at the end:
//
//	used days                     2 bytes
//	policy host's network         8 bytes
//	host that fetched the policy  1 byte length, text
//
// Version 0 is a number (EncodeNumber), versions 0x81 and 0x82 are kept by a fleet
// alone (failure.go).
package record

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
	"github.com/stsmapd/stsmapd/resolver/fair"
	"github.com/stsmapd/stsmapd/resolver/mtasts"
)

// HeaderSize is how many bytes of a record stand before its payload.
const HeaderSize = 6

const (
	magic = 0xB5

	versionPlain  = 1
	versionOrigin = 2
	versionUsage  = 3 // the newest of a policy

	maxID     = math.MaxUint8 // bytes; the grammar allows 32 (RFC 8461 section 3.1)
	maxReason = 1 << 10       // bytes; a longer reason is cut
	maxText   = 64 << 10      // bytes of a policy (RFC 8461 section 3.3)
	maxOrigin = 64            // bytes of a host's name (Linux has no longer ones)
)

// MaxSize is the size in bytes that no record exceeds.
const MaxSize = HeaderSize + 6*8 + 4*8 + 2*maxID + maxReason + maxText + maxOrigin + 2 + 8

// CorruptError: a record is not what was written, or no longer makes sense. The caller drops the record, counts it, and
// looks up the domain's policy.
type CorruptError struct {
	Key string // the record's key: the domain's name, unless it is the key that was damaged
	Msg string
}

// Error implements error.
func (e *CorruptError) Error() string { return fmt.Sprintf("damaged record of %q: %s", e.Key, e.Msg) }

// ErrVersion: a record was written by a newer stsmapd, or is of a kind that only an older one wrote. The caller keeps
// it, and goes on as if nothing were cached.
var ErrVersion = errors.New("record of another version of stsmapd")

// Encode returns the record of an entry: times to the millisecond, and of FetchFailures.Reason the first 1,024 bytes.
// It fails only on an entry that no parser made: without domain or policy, or with a field beyond its bounds.
func Encode(e resolver.Entry) ([]byte, error) {
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
	b := make([]byte, HeaderSize, HeaderSize+3*8+1+len(e.ID)+1+4+len(e.Policy.Text)+2+8+1+len(e.Origin))
	b[0], b[1] = magic, versionUsage
	for _, t := range [...]time.Time{e.Fetched, e.Checked, e.Used} {
		b = binary.LittleEndian.AppendUint64(b, uint64(t.UnixMilli()))
	}
	b = append(append(b, byte(len(e.ID))), e.ID...)
	if e.Failures == (resolver.FetchFailures{}) {
		b = append(b, 0)
	} else {
		b = appendFailures(b, e.Failures)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(e.Policy.Text)))
	b = append(b, e.Policy.Text...)
	b = binary.LittleEndian.AppendUint16(b, e.UsedDays)
	b = binary.LittleEndian.AppendUint64(b, uint64(e.Network))
	b = append(append(b, byte(len(e.Origin))), e.Origin...)
	binary.LittleEndian.PutUint32(b[2:], checksum(e.Domain.String(), b))
	return b, nil
}

// ValidHost reports whether a host of a fleet can have this name: 1 to 64 letters, digits, dots, hyphens and
// underscores.
func ValidHost(name string) bool {
	for i := range len(name) {
		c := name[i]
		if c != '.' && c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return name != "" && len(name) <= maxOrigin
}

func appendFailures(b []byte, t resolver.FetchFailures) []byte {
	b = append(b, 1)
	b = binary.LittleEndian.AppendUint32(b, uint32(min(max(t.Count, 0), math.MaxInt32)))
	for _, t := range [...]time.Time{t.Since, t.RetryAt, t.Alerted} {
		b = binary.LittleEndian.AppendUint64(b, uint64(t.UnixMilli()))
	}
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

// Seal writes the checksum into a record of at least HeaderSize bytes that was made by hand.
func Seal(key string, record []byte) {
	binary.LittleEndian.PutUint32(record[2:], checksum(key, record))
}

func checksum(key string, record []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli) // made once by the library
	sum := crc32.Checksum([]byte(key), table)
	sum = crc32.Update(sum, table, record[:2])
	return crc32.Update(sum, table, record[HeaderSize:])
}

// open checks what all versions have in common and returns what is inside. Every error is a *CorruptError.
func open(key string, record []byte) (fields, error) {
	switch {
	case len(record) < HeaderSize:
		return fields{}, &CorruptError{key, "shorter than its header"}
	case len(record) > MaxSize:
		return fields{}, &CorruptError{key, "longer than any record"}
	case record[0] != magic:
		return fields{}, &CorruptError{key, "does not begin as a record"}
	case binary.LittleEndian.Uint32(record[2:]) != checksum(key, record):
		return fields{}, &CorruptError{key, "the checksum does not match"}
	}
	return fields{version: record[1], rest: record[HeaderSize:]}, nil
}

// openPolicy returns the fields of a policy's record. The errors are *CorruptError and ErrVersion.
func openPolicy(key string, record []byte) (fields, error) {
	r, err := open(key, record)
	switch {
	case err != nil:
		return r, err
	case r.version == 0:
		return r, &CorruptError{key, "a number, not a policy"}
	case r.version > versionUsage:
		return r, ErrVersion
	}
	return r, nil
}

// Fetched returns when the policy in a record was fetched, without reading the rest. The errors are *CorruptError and
// ErrVersion.
func Fetched(key string, record []byte) (time.Time, error) {
	r, err := openPolicy(key, record)
	if err != nil {
		return time.Time{}, err
	}
	fetched := r.time()
	if r.bad != "" {
		return time.Time{}, &CorruptError{key, r.bad}
	}
	return fetched, nil
}

// Decode reads the record of a domain. The errors are *CorruptError and ErrVersion. Nothing of the entry points into
// record.
func Decode(key string, record []byte) (resolver.Entry, error) {
	r, err := openPolicy(key, record)
	if err != nil {
		return resolver.Entry{}, err
	}
	domain, err := dnsname.Parse(key)
	if err != nil || domain.String() != key {
		return resolver.Entry{}, &CorruptError{key, "the key is no domain"}
	}
	e := resolver.Entry{Domain: domain, Fetched: r.time(), Checked: r.time(), Used: r.time(),
		ID: r.text(r.uint(1), maxID)}
	e.Failures = r.failures()
	text := r.bytes(r.uint(4), maxText)
	if r.version >= versionUsage {
		e.UsedDays = uint16(r.uint(2))
		network, _ := r.uint64()
		e.Network = fair.Network(network)
	}
	if r.version >= versionOrigin {
		if e.Origin = r.text(r.uint(1), maxOrigin); r.bad == "" && e.Origin != "" && !ValidHost(e.Origin) {
			r.bad = "from a host without a name"
		}
	}
	if err := r.end(key); err != nil {
		return resolver.Entry{}, err
	}
	if e.Policy, err = mtasts.ParsePolicy(text); err != nil {
		return resolver.Entry{}, &CorruptError{key, "the policy in it is not valid: " + err.Error()}
	}
	return e, nil
}

// EncodeNumber returns the record of a number that stands under key: its payload has 8 bytes. Its form must stay the
// same in every version of stsmapd: the number of the store's layout is one.
func EncodeNumber(key string, n uint64) []byte {
	b := binary.LittleEndian.AppendUint64([]byte{magic, 0, 0, 0, 0, 0}, n)
	binary.LittleEndian.PutUint32(b[2:], checksum(key, b))
	return b
}

// DecodeNumber returns the number in a record, and whether it is unharmed.
func DecodeNumber(key string, record []byte) (n uint64, ok bool) {
	r, err := open(key, record)
	if err != nil || r.version != 0 || len(r.rest) != 8 {
		return 0, false
	}
	return binary.LittleEndian.Uint64(r.rest), true
}

// Doubt returns a policy's record with the mark that it may not be the last of its domain (resolver.Entry.Doubtful).
// One of a newer stsmapd is returned as it is, for one that is damaged the error is a *CorruptError.
func Doubt(key string, record []byte) ([]byte, error) {
	e, err := Decode(key, record)
	switch {
	case errors.Is(err, ErrVersion):
		return record, nil
	case err != nil:
		return nil, err
	}
	e.Checked = time.Time{}
	return Encode(e)
}

// Newer reports whether the policy in a record was fetched after that in another. A record that is damaged, or of a
// newer stsmapd, does not tell.
func Newer(key string, record, than []byte) bool {
	is, err := Fetched(key, record)
	was, errThan := Fetched(key, than)
	return err == nil && errThan == nil && is.After(was)
}
