package dane

import (
	"crypto/ecdh"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"

	"github.com/stsmapd/stsmapd/resolver/dnsclient"
)

// The fields of TLSA records (RFC 6698 section 2.1, names of RFC 7218) that mail uses: a host's certificate can be
// pinned without the public CAs only (RFC 7672 section 3.1.3).
const (
	usageDANETA  = 2
	usageDANEEE  = 3
	selectorCert = 0
	selectorSPKI = 1
	matchFull    = 0
	matchSHA256  = 1
	matchSHA512  = 2
)

// usableTLSA reports whether Postfix can match a certificate with the record. Both errors harm. To call a usable record
// unusable lets MTA-STS override DANE; to call an unusable one usable stops the mail, for under dane-only Postfix
// refuses a host that has nothing else.
//
// Postfix drops usages 0 and 1 and matching type 255, and leaves the rest to OpenSSL, which knows the digests of
// tls_dane_digests (by default sha512 and sha256, in Postfix 3.4 to 3.11), wants a digest of the right length, and must
// be able to decode a whole certificate or key. What differs between versions makes no difference here: Postfix 3.10
// drops a record without data itself, 3.7 has OpenSSL refuse it. Keys that only OpenSSL 3.5 decodes (ML-DSA, SLH-DSA)
// count as unusable: the Postfix that asks may have an older OpenSSL.
func usableTLSA(r dnsclient.TLSA) bool {
	if r.Usage != usageDANETA && r.Usage != usageDANEEE || r.Selector > selectorSPKI {
		return false
	}
	switch r.MatchingType {
	case matchSHA256:
		return len(r.Data) == sha256.Size
	case matchSHA512:
		return len(r.Data) == sha512.Size
	case matchFull:
		if r.Selector == selectorSPKI {
			return decodesKey(r.Data)
		}
		return decodesCertificate(r.Data)
	default:
		return false
	}
}

// derCertificate is a certificate (RFC 5280 section 4.1) as far as OpenSSL looks when it decodes one. Go's own decoder
// is stricter: it refuses certificates for their extensions, serial numbers or dates, which OpenSSL decodes.
type derCertificate struct {
	TBS struct {
		Version    int `asn1:"optional,explicit,default:0,tag:0"`
		Serial     asn1.RawValue
		Signature  pkix.AlgorithmIdentifier
		Issuer     derName
		Validity   struct{ NotBefore, NotAfter asn1.RawValue }
		Subject    derName
		Key        derKey
		IssuerID   asn1.BitString  `asn1:"optional,tag:1"`
		SubjectID  asn1.BitString  `asn1:"optional,tag:2"`
		Extensions []asn1.RawValue `asn1:"omitempty,optional,explicit,tag:3"`
	}
	Algorithm pkix.AlgorithmIdentifier
	Signature asn1.BitString
}

// derName is a Name (RFC 5280 section 4.1.2.4). encoding/asn1 knows a SET by the end of its type's name.
type (
	derName    []derPartSET
	derPartSET []struct {
		Type  asn1.ObjectIdentifier
		Value asn1.RawValue
	}
)

// derKey is a SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7).
type derKey struct {
	Algorithm struct {
		ID         asn1.ObjectIdentifier
		Parameters asn1.RawValue `asn1:"optional"`
	}
	Bits asn1.BitString
}

func decodesCertificate(der []byte) bool {
	var c derCertificate
	rest, err := asn1.Unmarshal(der, &c)
	isTime := func(v asn1.RawValue) bool { return v.Tag == asn1.TagUTCTime || v.Tag == asn1.TagGeneralizedTime }
	return err == nil && len(rest) == 0 && c.TBS.Serial.Tag == asn1.TagInteger &&
		isTime(c.TBS.Validity.NotBefore) && isTime(c.TBS.Validity.NotAfter) && c.TBS.Key.decodes()
}

func decodesKey(der []byte) bool {
	var k derKey
	rest, err := asn1.Unmarshal(der, &k)
	return err == nil && len(rest) == 0 && k.decodes()
}

// decodes reports whether OpenSSL 3.0, without providers of the administrator's, makes a key of it.
func (k derKey) decodes() bool {
	bits := k.Bits.RightAlign()
	switch k.Algorithm.ID.String() {
	case "1.2.840.113549.1.1.1", "1.2.840.113549.1.1.10": // RSA (RFC 8017), with PSS too
		var key struct{ N, E *big.Int }
		_, err := asn1.Unmarshal(bits, &key)
		return err == nil
	case "1.2.840.10045.2.1": // elliptic curves (RFC 5480)
		var curve asn1.ObjectIdentifier
		_, err := asn1.Unmarshal(k.Algorithm.Parameters.FullBytes, &curve)
		return err == nil && isPoint(curve.String(), bits)
	case "1.2.840.10040.4.1", "1.2.840.10046.2.1", "1.2.840.113549.1.3.1": // DSA, Diffie-Hellman (RFC 3279)
		var y *big.Int
		_, err := asn1.Unmarshal(bits, &y)
		return err == nil && len(k.Algorithm.Parameters.Bytes) > 0
	case "1.3.101.110", "1.3.101.112": // X25519, Ed25519 (RFC 8410)
		return len(bits) == 32
	case "1.3.101.111": // X448
		return len(bits) == 56
	case "1.3.101.113": // Ed448
		return len(bits) == 57
	default:
		return false
	}
}

// isPoint reports whether the bytes are a point of the curve (SEC 1 section 2.3.4). Of curves that Go does not know,
// only the form is looked at.
func isPoint(curve string, point []byte) bool {
	size := 0
	switch curve {
	case "1.2.840.10045.3.1.7":
		return onCurve(ecdh.P256(), elliptic.P256(), point)
	case "1.3.132.0.34":
		return onCurve(ecdh.P384(), elliptic.P384(), point)
	case "1.3.132.0.35":
		return onCurve(ecdh.P521(), elliptic.P521(), point)
	case "1.2.840.10045.3.1.1": // P-192
		size = 24
	case "1.3.132.0.33", "1.3.36.3.3.2.8.1.1.5": // P-224, brainpoolP224r1
		size = 28
	case "1.3.132.0.10", "1.3.36.3.3.2.8.1.1.7", "1.2.156.10197.1.301": // secp256k1, brainpoolP256r1, SM2
		size = 32
	case "1.3.36.3.3.2.8.1.1.9": // brainpoolP320r1
		size = 40
	case "1.3.36.3.3.2.8.1.1.11": // brainpoolP384r1
		size = 48
	case "1.3.36.3.3.2.8.1.1.13": // brainpoolP512r1
		size = 64
	default:
		return false
	}
	return len(point) == 1+2*size && point[0] == 4 || len(point) == 1+size && slices.Contains([]byte{2, 3}, point[0])
}

func onCurve(uncompressed ecdh.Curve, compressed elliptic.Curve, point []byte) bool {
	if _, err := uncompressed.NewPublicKey(point); err == nil {
		return true
	}
	x, _ := elliptic.UnmarshalCompressed(compressed, point)
	return x != nil
}
