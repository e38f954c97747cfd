package dane

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver/dnsclient"
)

// Keys and a certificate in DER, as OpenSSL 3.0 writes them and Go does not read them.
const (
	keyEd448 = "" +
		"3043300506032b6571033a0052f7ece696bf384f558b140c2417ed040de4205cfcd30c0b3fe45a39964c9b5cd859680f0f77ba81" +
		"7e1e767b7f213c8868022e280151250100"
	keyX448 = "" +
		"3042300506032b656f033900da9ce99c5cbae2da73406acbb8dca6aa4d45feb0f8f6cf2c78d6480e56096f3adff09daeb8562524" +
		"e862fe7abdc3bb2fcfb21f8aa4708eec"
	keyBrainpool = "" +
		"305a301406072a8648ce3d020106092b2403030208010107034200044a17d853ec139b054878de3485015aa8129aa037bf138d77" +
		"a00380e5525e522329649bb611e0462b5ab87b70dd46fe6f9b00627b2c3360a15d3c83a3e3c6c169"
	keyCompressed = "" +
		"3039301306072a8648ce3d020106082a8648ce3d03010703220002af48fb3e4e9d9cb8287786606b9a7079b5894efb4b1e3a6aff" +
		"9f95a6474748ab"
	// A point that is not on P-256.
	keyOffCurve = "" +
		"3059301306072a8648ce3d020106082a8648ce3d03010703420004af48fb3e4e9d9cb8287786606b9a7079b5894efb4b1e3a6aff" +
		"9f95a6474748ab3fd447f2d7ccbe3fabad6413a80b6b18d3aefc2479d04cd951d1a75fa177eb2b"
	certNegativeSerial = "" +
		"3082016c30820112a0030201020201fb300a06082a8648ce3d04030230153113301106035504030c0a6d782e6578616d706c6530" +
		"1e170d3236313132373233303733375a170d3236313232373233303733375a30153113301106035504030c0a6d782e6578616d70" +
		"6c653059301306072a8648ce3d020106082a8648ce3d03010703420004af48fb3e4e9d9cb8287786606b9a7079b5894efb4b1e3a" +
		"6aff9f95a6474748ab3fd447f2d7ccbe3fabad6413a80b6b18d3aefc2479d04cd951d1a75fa177eb2aa3533051301d0603551d0e" +
		"0416041460d55500dd9bf5b6d2679820c81c00b61a82b54c301f0603551d2304183016801460d55500dd9bf5b6d2679820c81c00" +
		"b61a82b54c300f0603551d130101ff040530030101ff300a06082a8648ce3d0403020348003045022100ff62091392d8fd6d70e1" +
		"44a6ed1e74f2976e6df3cbba998d89e47dc3abdbb612022074aee4dac4ccc9b6a30351fd97ee02903b65536462c82e75c6868c85" +
		"05d4f51d"
)

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestUsableTLSA: for each row, OpenSSL 3.0 to 3.6 say the same.
func TestUsableTLSA(t *testing.T) {
	cert, spki := certificate(t)
	whole := func(selector uint8, text string) dnsclient.TLSA {
		return dnsclient.TLSA{Usage: 3, Selector: selector, MatchingType: 0, Data: unhex(t, text)}
	}
	for _, c := range []struct {
		why    string
		record dnsclient.TLSA
		want   bool
	}{
		{"a whole key of a kind that Go does not know", whole(1, keyEd448), true},
		{"another", whole(1, keyX448), true},
		{"a curve that Go does not know", whole(1, keyBrainpool), true},
		{"a compressed point", whole(1, keyCompressed), true},
		{"a point that is not on its curve", whole(1, keyOffCurve), false},
		{"a certificate that Go refuses for its serial number", whole(0, certNegativeSerial), true},
		{"key material that is too short", whole(1, "302a300506032b6570032100"+strings.Repeat("ab", 31)), false},
		{"a kind of key that nobody knows", whole(1, "302a300506032b657f032100"+strings.Repeat("ab", 32)), false},
		{"3 1 1", dnsclient.TLSA{Usage: 3, Selector: 1, MatchingType: 1, Data: make([]byte, 32)}, true},
		{"2 0 1", dnsclient.TLSA{Usage: 2, Selector: 0, MatchingType: 1, Data: make([]byte, 32)}, true},
		{"3 0 2", dnsclient.TLSA{Usage: 3, Selector: 0, MatchingType: 2, Data: make([]byte, 64)}, true},
		{"PKIX-TA", dnsclient.TLSA{Usage: 0, Selector: 1, MatchingType: 1, Data: make([]byte, 32)}, false},
		{"PKIX-EE", dnsclient.TLSA{Usage: 1, Selector: 1, MatchingType: 1, Data: make([]byte, 32)}, false},
		{"a usage to come", dnsclient.TLSA{Usage: 4, Selector: 1, MatchingType: 1, Data: make([]byte, 32)}, false},
		{"private use", dnsclient.TLSA{Usage: 255, Selector: 255, MatchingType: 255, Data: make([]byte, 32)}, false},
		{"a selector to come", dnsclient.TLSA{Usage: 3, Selector: 2, MatchingType: 1, Data: make([]byte, 32)}, false},
		{"a matching type to come", dnsclient.TLSA{Usage: 3, Selector: 1, MatchingType: 3, Data: make([]byte, 32)},
			false},
		{"all fields to come", dnsclient.TLSA{Usage: 9, Selector: 9, MatchingType: 9, Data: make([]byte, 32)}, false},
		{"the matching type that Postfix keeps for itself",
			dnsclient.TLSA{Usage: 3, Selector: 1, MatchingType: 255, Data: make([]byte, 32)}, false},
		{"SHA-256 too short", dnsclient.TLSA{Usage: 3, Selector: 1, MatchingType: 1, Data: make([]byte, 31)}, false},
		{"SHA-256 too long", dnsclient.TLSA{Usage: 3, Selector: 1, MatchingType: 1, Data: make([]byte, 33)}, false},
		{"SHA-512 with the length of SHA-256",
			dnsclient.TLSA{Usage: 3, Selector: 1, MatchingType: 2, Data: make([]byte, 32)}, false},
		{"no digest", dnsclient.TLSA{Usage: 3, Selector: 1, MatchingType: 1}, false},
		{"a whole certificate", dnsclient.TLSA{Usage: 2, Selector: 0, MatchingType: 0, Data: cert}, true},
		{"a whole key", dnsclient.TLSA{Usage: 3, Selector: 1, MatchingType: 0, Data: spki}, true},
		{"a key where a certificate should be", dnsclient.TLSA{Usage: 3, Selector: 0, MatchingType: 0, Data: spki},
			false},
		{"a certificate where a key should be", dnsclient.TLSA{Usage: 3, Selector: 1, MatchingType: 0, Data: cert},
			false},
		{"half a certificate", dnsclient.TLSA{Usage: 3, Selector: 0, MatchingType: 0, Data: cert[:len(cert)/2]}, false},
		{"a certificate and more",
			dnsclient.TLSA{Usage: 3, Selector: 0, MatchingType: 0, Data: append(cert[:len(cert):len(cert)], 0)}, false},
		{"no certificate", dnsclient.TLSA{Usage: 3, Selector: 0, MatchingType: 0}, false},
		{"a digest where a key should be",
			dnsclient.TLSA{Usage: 3, Selector: 1, MatchingType: 0, Data: make([]byte, 32)}, false},
	} {
		if got := usableTLSA(c.record); got != c.want {
			t.Errorf("%s: usable %v, want %v", c.why, got, c.want)
		}
	}
}

// certificate makes a certificate and its key's SubjectPublicKeyInfo, in DER.
func certificate(t testing.TB) (cert, spki []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"mx.example.test"}, NotAfter: time.Unix(1<<33, 0)}
	if cert, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key); err != nil {
		t.Fatal(err)
	}
	if spki, err = x509.MarshalPKIXPublicKey(key.Public()); err != nil {
		t.Fatal(err)
	}
	return cert, spki
}

// FuzzUsableTLSA: no bytes break it, a byte more or less makes a usable record unusable, and a certificate that is
// usable has a usable key.
func FuzzUsableTLSA(f *testing.F) {
	cert, spki := certificate(f)
	f.Add(cert)
	f.Add(spki)
	for _, text := range []string{keyEd448, keyX448, keyBrainpool, keyCompressed, keyOffCurve, certNegativeSerial} {
		f.Add(unhex(f, text))
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		for selector := range uint8(2) {
			whole := func(data []byte) bool {
				return usableTLSA(dnsclient.TLSA{Usage: 3, Selector: selector, Data: data})
			}
			if whole(der) && (whole(append(bytes.Clone(der), 0)) || whole(der[:len(der)-1])) {
				t.Errorf("selector %d: usable with a byte more or less: %x", selector, der)
			}
		}
		c, err := x509.ParseCertificate(der)
		if err == nil && usableTLSA(dnsclient.TLSA{Usage: 2, Data: der}) &&
			!usableTLSA(dnsclient.TLSA{Usage: 3, Selector: 1, Data: c.RawSubjectPublicKeyInfo}) {
			t.Errorf("usable, and its key is not: %x", der)
		}
	})
}
