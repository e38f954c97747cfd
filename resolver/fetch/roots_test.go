package fetch

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// rootFile writes certificates to a file.
func rootFile(t *testing.T, file string, cas ...*testCA) string {
	t.Helper()
	var text []byte
	for _, ca := range cas {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})...)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func wantRoots(t *testing.T, why string, got *x509.CertPool, cas ...*testCA) {
	t.Helper()
	want := x509.NewCertPool()
	for _, ca := range cas {
		want.AddCert(ca.cert)
	}
	if got == nil || !got.Equal(want) {
		t.Errorf("%s: other roots than expected", why)
	}
}

func TestRootsOfFile(t *testing.T) {
	one, two := newCA(t), newCA(t)
	file := rootFile(t, filepath.Join(t.TempDir(), "ca.pem"), one)
	t.Setenv("SSL_CERT_FILE", "/nowhere") // a file that is named wins
	pool, err := LoadRoots(file)
	if err != nil {
		t.Fatal(err)
	}
	wantRoots(t, "the file's", pool, one)
	rootFile(t, file, one, two)
	if pool, err = LoadRoots(file); err != nil {
		t.Fatal(err)
	}
	wantRoots(t, "the file's after a change", pool, one, two)
}

func TestRootsOfBadFile(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"empty.pem": "", "text.pem": "no certificate\n",
		"key.pem":    "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
		"broken.pem": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ why, file, want string }{
		{"missing", "missing.pem", "missing.pem: no such file"},
		{"a directory", "", "is a directory"},
		{"empty", "empty.pem", "empty.pem: no PEM certificate in it"},
		{"some text", "text.pem", "text.pem: no PEM certificate in it"},
		{"a private key, easily mistaken", "key.pem", "key.pem: no PEM certificate in it"},
		{"a certificate that is none", "broken.pem", "broken.pem: no PEM certificate in it"},
	} {
		pool, err := LoadRoots(filepath.Join(dir, c.file))
		if err == nil || errors.Is(err, ErrNoRoots) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.why, err, c.want)
		}
		if pool != nil {
			t.Errorf("%s: roots beside an error", c.why)
		}
	}
}

func TestRootsOfEnvironment(t *testing.T) {
	one, two, three := newCA(t), newCA(t), newCA(t)
	dir, other := t.TempDir(), t.TempDir()
	file := rootFile(t, filepath.Join(dir, "bundle.pem"), one)
	rootFile(t, filepath.Join(other, "two.pem"), two)
	rootFile(t, filepath.Join(other, "three.crt"), three)
	if err := os.WriteFile(filepath.Join(other, "README"), []byte("not a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := t.TempDir()
	for _, c := range []struct {
		why, file, dirs string
		want            []*testCA
		text            string // of the error; "": none
	}{
		{"file and directory both count", file, other, []*testCA{one, two, three}, ""},
		{"several directories, one of them empty", file, empty + ":" + other, []*testCA{one, two, three}, ""},
		{"a file alone, and a directory without anything", file, empty, []*testCA{one}, ""},
		{"a missing file is told by the name of its variable", filepath.Join(dir, "no"), other, nil,
			"SSL_CERT_FILE: read CA roots: open "},
		{"a missing directory is none, as for Go and OpenSSL", file, filepath.Join(dir, "no"), []*testCA{one}, ""},
	} {
		t.Setenv("SSL_CERT_FILE", c.file)
		t.Setenv("SSL_CERT_DIR", c.dirs)
		pool, err := LoadRoots("")
		if c.text == "" {
			if err != nil {
				t.Errorf("%s: %v", c.why, err)
			}
			wantRoots(t, c.why, pool, c.want...)
		} else if err == nil || pool != nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: error %v, want %q", c.why, err, c.text)
		}
	}
}

// TestRootsOfDirectories: a missing directory of SSL_CERT_DIR is an error only where there are no roots at all.
func TestRootsOfDirectories(t *testing.T) {
	ca, dir := newCA(t), t.TempDir()
	rootFile(t, filepath.Join(dir, "ca.pem"), ca)
	missing := filepath.Join(dir, "no")
	pool, err := rootPlaces{}.load("", []string{missing, dir})
	if err != nil {
		t.Fatal(err)
	}
	wantRoots(t, "beside one with roots", pool, ca)
	if pool, err := (rootPlaces{}).load("", []string{missing}); err == nil || pool != nil ||
		!strings.Contains(err.Error(), "SSL_CERT_DIR: read CA roots: open ") {
		t.Errorf("alone: %v, want an error that names the variable", err)
	}
}

func TestRootsOfSystem(t *testing.T) {
	one, two, three := newCA(t), newCA(t), newCA(t)
	dir, certs := t.TempDir(), t.TempDir()
	first := rootFile(t, filepath.Join(dir, "first.pem"), one)
	second := rootFile(t, filepath.Join(dir, "second.pem"), two)
	rootFile(t, filepath.Join(certs, "local.pem"), three)
	missing := filepath.Join(dir, "missing")
	for _, c := range []struct {
		why    string
		places rootPlaces
		want   []*testCA
	}{
		{"the first file that is there, and the directories",
			rootPlaces{[]string{missing, first, second}, []string{missing, certs}}, []*testCA{one, three}},
		{"a directory alone, as SUSE had it", rootPlaces{[]string{missing}, []string{certs}}, []*testCA{three}},
		{"a file alone", rootPlaces{[]string{second}, nil}, []*testCA{two}},
		{"no ca-certificates installed", rootPlaces{[]string{missing}, []string{missing, t.TempDir()}}, nil},
	} {
		pool, err := c.places.load("", nil)
		switch {
		case c.want != nil && err != nil:
			t.Errorf("%s: %v", c.why, err)
		case c.want != nil:
			wantRoots(t, c.why, pool, c.want...)
		case !errors.Is(err, ErrNoRoots) || pool != nil:
			t.Errorf("%s: %v, want ErrNoRoots", c.why, err)
		}
	}
}

// TestRootsOfThisSystem: we find roots where the standard library does, and nowhere else.
func TestRootsOfThisSystem(t *testing.T) {
	t.Setenv("SSL_CERT_FILE", "")
	t.Setenv("SSL_CERT_DIR", "")
	pool, err := LoadRoots("")
	std, stdErr := x509.SystemCertPool()
	if stdErr != nil || std.Equal(x509.NewCertPool()) {
		if !errors.Is(err, ErrNoRoots) {
			t.Errorf("the system has no roots, but LoadRoots: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if !pool.Equal(std) {
		t.Error("not the roots of the standard library")
	}
}
