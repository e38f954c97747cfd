package fetch

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/stsmapd/stsmapd/resolver/fault"
)

// ErrNoRoots: no trusted root was found, so that every fetch would fail. Live policies can still be served; the
// administrator must be told.
var ErrNoRoots error = &fault.Error{Kind: fault.Host,
	Err: errors.New("no trusted CA root found: install ca-certificates or set fetch.ca_file")}

// rootPlaces is where trusted roots are looked for: in the first file that has any, and in all files of all
// directories.
type rootPlaces struct{ files, dirs []string }

// systemRoots are the places where distributions keep the roots.
func systemRoots() rootPlaces {
	return rootPlaces{
		files: []string{
			"/etc/ssl/certs/ca-certificates.crt",                // Debian, Alpine, Arch, NixOS
			"/etc/pki/tls/certs/ca-bundle.crt",                  // Fedora, RHEL
			"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // newer RHEL
			"/etc/ssl/ca-bundle.pem",                            // SUSE
			"/etc/ssl/cert.pem",                                 // BSDs
		},
		dirs: []string{"/etc/ssl/certs", "/etc/pki/tls/certs"},
	}
}

// LoadRoots reads the trusted roots from caFile, or from the system where caFile is "": then SSL_CERT_FILE and
// SSL_CERT_DIR are honoured as OpenSSL does. It reads the files each time (the standard library reads the system's only
// once), so that a reload sees a new bundle.
//
// The errors are ErrNoRoots, when the system has none, and what is wrong with a file or directory that was named.
func LoadRoots(caFile string) (*x509.CertPool, error) {
	if caFile != "" {
		pool := x509.NewCertPool()
		if err := addFile(pool, caFile); err != nil {
			return nil, err
		}
		return pool, nil
	}
	return systemRoots().load(os.Getenv("SSL_CERT_FILE"), filepath.SplitList(os.Getenv("SSL_CERT_DIR")))
}

// load reads the roots; envFile and envDirs, where given, stand for the usual files and directories. envFile must be
// readable; a directory that is not there is an error only where no roots are found, as for Go and OpenSSL.
func (p rootPlaces) load(envFile string, envDirs []string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if envFile != "" {
		if err := addFile(pool, envFile); err != nil {
			return nil, fmt.Errorf("SSL_CERT_FILE: %w", err)
		}
		p.files = nil
	}
	var unread error // the first of SSL_CERT_DIR
	for _, dir := range envDirs {
		err := addDir(pool, dir)
		if fault.Of(err) == fault.Exhausted {
			return nil, err
		}
		unread = cmp.Or(unread, err)
		p.dirs = nil
	}
	for _, file := range p.files {
		err := addFile(pool, file)
		if fault.Of(err) == fault.Exhausted {
			return nil, err // the roots may well be there
		}
		if err == nil {
			break
		}
	}
	for _, dir := range p.dirs {
		if err := addDir(pool, dir); fault.Of(err) == fault.Exhausted {
			return nil, err // of the others, most systems have only one
		}
	}
	if pool.Equal(x509.NewCertPool()) {
		if unread != nil {
			return nil, fmt.Errorf("SSL_CERT_DIR: %w", unread)
		}
		return nil, ErrNoRoots
	}
	return pool, nil
}

func addFile(pool *x509.CertPool, file string) error {
	pem, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read CA roots: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("read CA roots: %s: no PEM certificate in it", file)
	}
	return nil
}

// addDir adds what certificates there are in a directory, which has other files too.
func addDir(pool *x509.CertPool, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read CA roots: %w", err)
	}
	for _, e := range entries {
		file := filepath.Join(dir, e.Name())
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
			if err := addFile(pool, file); fault.Of(err) == fault.Exhausted {
				return err
			}
		}
	}
	return nil
}
