package doctor

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// KeyPair is a client certificate with its key.
type KeyPair struct {
	Certificate string // its file, as smtp(8) finds it before it enters the chroot
	Key         string // "": in the same file, before the certificate (smtp_tls_chain_files)
}

// PairState says what is wrong with a KeyPair.
type PairState struct {
	Missing bool   // a file does not exist
	Problem string // "" if nothing is wrong, or if it is not known
}

// pairsOf returns the client certificates of the service.
func pairsOf(v view) []KeyPair {
	var pairs []KeyPair
	for _, file := range strings.FieldsFunc(v.value("smtp_tls_chain_files"), isListSpace) {
		pairs = append(pairs, KeyPair{Certificate: v.facts.beforeChroot(file)})
	}
	if pairs != nil {
		return pairs // the others are ignored
	}
	for _, kind := range []string{"", "ec", "d"} {
		certificate := v.value("smtp_tls_" + kind + "cert_file")
		key := v.value("smtp_tls_" + kind + "key_file")
		if certificate == "" {
			continue
		}
		if key == "" {
			key = certificate
		}
		pairs = append(pairs, KeyPair{v.facts.beforeChroot(certificate), v.facts.beforeChroot(key)})
	}
	return pairs
}

// judgePairs judges the client certificates: with one that cannot be loaded, Postfix does no TLS.
func (d clientRules) judgePairs(v view) {
	for _, pair := range pairsOf(v) {
		state := d.facts.Pairs[pair]
		if state.Problem == "" || state.Missing && pair.Key == "" { // a missing chain is only logged
			continue
		}
		var fixes []Fix
		var names []string
		for _, name := range []string{
			"smtp_tls_cert_file", "smtp_tls_eccert_file", "smtp_tls_dcert_file", "smtp_tls_chain_files",
		} {
			if v.value(name) != "" {
				names, fixes = append(names, name), append(fixes, v.fix(name, ""))
			}
		}
		d.add(v, Finding{
			ID: "client-certificate", Severity: Error, about: names[0], Fixes: fixes,
			Problem: fmt.Sprintf("the client certificate in %s cannot be used (%s): Postfix then does no TLS at "+
				"all, mail "+
				"to domains with a policy is deferred, and other mail is sent unencrypted", pair.Certificate,
				state.Problem),
			Cure: fmt.Sprintf("repair it; or remove %s, for few servers ask for a client certificate",
				strings.Join(names, ", ")),
		})
	}
}

// load loads the certificate and the key.
func (p KeyPair) load() PairState {
	certificate, err := os.ReadFile(p.Certificate)
	if err != nil {
		return pairError(err)
	}
	key := certificate
	if p.Key != "" {
		if key, err = os.ReadFile(p.Key); err != nil {
			return pairError(err)
		}
	} else if first := strings.Index(string(certificate), "-----BEGIN "); first >= 0 &&
		!strings.Contains(strings.SplitN(string(certificate[first:]), "\n", 2)[0], "PRIVATE KEY") {
		return PairState{Problem: "the key must come before its certificate"}
	}
	_, err = tls.X509KeyPair(certificate, key)
	switch {
	case err == nil:
		return PairState{}
	case strings.Contains(err.Error(), "failed to find any"):
		return PairState{Problem: "no certificate and key in PEM format"}
	case strings.Contains(err.Error(), "does not match"), strings.Contains(err.Error(), "failed to find certificate"):
		return PairState{Problem: "the key belongs to another certificate"}
	case strings.Contains(err.Error(), "found a certificate rather than a key"):
		return PairState{Problem: "there is no key"}
	}
	return PairState{} // such as an algorithm that OpenSSL knows
}

// pairError returns the state for an error of reading a file.
func pairError(err error) PairState {
	var path *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return PairState{Missing: true, Problem: "no such file"}
	case errors.Is(err, fs.ErrPermission):
		return PairState{}
	case errors.As(err, &path):
		return PairState{Problem: path.Err.Error()}
	}
	return PairState{Problem: err.Error()}
}
