package record

import (
	"encoding/binary"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsname"
)

// versionEnd is the version of the record by which a fleet knows that a policy was forgotten: a time, 8 bytes.
const versionEnd = 0x82

// EncodeEnd returns the record of a policy that was forgotten: upTo is the latest fetch that the end is about.
func EncodeEnd(domain dnsname.Name, upTo time.Time) []byte {
	b := binary.LittleEndian.AppendUint64([]byte{magic, versionEnd, 0, 0, 0, 0}, uint64(upTo.UnixMilli()))
	Seal(domain.String(), b)
	return b
}

// DecodeEnd reads what EncodeEnd wrote. The errors are *CorruptError and ErrVersion.
func DecodeEnd(key string, record []byte) (upTo time.Time, err error) {
	r, err := openVersion(key, record, versionEnd)
	if err != nil {
		return time.Time{}, err
	}
	upTo = r.time()
	return upTo, r.end(key)
}

// openVersion returns the fields of a record of this version.
func openVersion(key string, record []byte, version byte) (fields, error) {
	r, err := open(key, record)
	if err == nil && r.version != version {
		err = ErrVersion
	}
	return r, err
}
