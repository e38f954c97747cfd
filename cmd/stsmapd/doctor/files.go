package doctor

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// bundlePaths returns the files of CA certificates of common systems.
func bundlePaths() []string {
	return []string{
		"/etc/ssl/certs/ca-certificates.crt",     // Debian, Ubuntu, Arch, Gentoo, Alpine
		"/etc/pki/tls/certs/ca-bundle.crt",       // Fedora, RHEL
		"/etc/ssl/ca-bundle.pem",                 // openSUSE
		"/etc/ssl/cert.pem",                      // Alpine, OpenBSD, macOS
		"/usr/local/share/certs/ca-root-nss.crt", // FreeBSD
	}
}

// findBundle returns the first of these files that holds a certificate, or "".
func findBundle(files []string) string {
	for _, name := range files {
		if certificateFile(name) == FileGood {
			return name
		}
	}
	return ""
}

// maxBundle is how many bytes of a file of certificates are read. Usual files have 250 kB.
const maxBundle = 64 << 20

// certificateFile looks for a certificate in a file.
func certificateFile(name string) File {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // does not block on a FIFO
	if err != nil {
		return fileOfError(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return FileEmpty
	}
	text, err := io.ReadAll(io.LimitReader(f, maxBundle))
	if err != nil {
		return fileOfError(err)
	}
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return FileEmpty
		}
		// OpenSSL accepts X509 CERTIFICATE and TRUSTED CERTIFICATE too
		if strings.HasSuffix(block.Type, "CERTIFICATE") {
			return FileGood
		}
	}
}

// fileOfError returns the state of a file for an error of opening or reading it.
func fileOfError(err error) File {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return FileMissing
	case errors.Is(err, unix.EISDIR), errors.Is(err, unix.ENOTDIR):
		return FileEmpty
	}
	return FileUnknown
}

// certificateDir looks for certificates in a directory, under the names that OpenSSL looks for.
func certificateDir(name string) File {
	entries, err := os.ReadDir(name)
	if err != nil {
		return fileOfError(err)
	}
	byHash := regexp.MustCompile(`^[0-9a-f]{8}\.[0-9]+$`)
	if slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return byHash.MatchString(e.Name()) }) {
		return FileGood
	}
	return FileEmpty
}

// statFile looks whether a file exists.
func statFile(name string) File {
	if _, err := os.Stat(name); err != nil {
		return fileOfError(err)
	}
	return FileGood
}

// identity is a user with groups. The zero identity is an unknown user.
type identity struct {
	known bool
	uid   uint32
	gids  []uint32
}

// lookupUser returns a user of this host with all groups, as initgroups(3) sets them for Postfix's programs.
func lookupUser(name string) identity {
	u, err := user.Lookup(name)
	if err != nil {
		return identity{}
	}
	groups, err := u.GroupIds()
	if err != nil {
		return identity{}
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	id := identity{known: err == nil, uid: uint32(uid)}
	for _, g := range groups {
		gid, err := strconv.ParseUint(g, 10, 32)
		id.known = id.known && err == nil
		id.gids = append(id.gids, uint32(gid))
	}
	return id
}

// socket finds out whether the user can connect to a UNIX socket, which needs search permission for the directories and
// write permission for the socket.
func (id identity) socket(way SocketPath) Socket {
	name := way.Path
	if way.From == "/" {
		real, err := filepath.EvalSymlinks(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return Socket{Kind: SocketMissing}
		case err != nil:
			return Socket{}
		}
		name = real
	}
	rest, err := filepath.Rel(way.From, name)
	if err != nil || rest == ".." || strings.HasPrefix(rest, "../") {
		return Socket{}
	}
	dir := way.From
	closed := ""
	for _, part := range append([]string{"."}, strings.Split(rest, "/")...) {
		dir = filepath.Join(dir, part)
		var stat unix.Stat_t
		switch err := unix.Lstat(dir, &stat); {
		case errors.Is(err, fs.ErrNotExist):
			return Socket{Kind: SocketMissing}
		case err != nil || stat.Mode&unix.S_IFMT == unix.S_IFLNK: // a link may lead elsewhere in a chroot
			return Socket{}
		}
		if closed == "" && !id.may(dir, &stat) {
			closed = dir
		}
		if dir == name && stat.Mode&unix.S_IFMT != unix.S_IFSOCK {
			return Socket{Kind: SocketOther}
		}
	}
	switch {
	case !id.known:
		return Socket{}
	case closed != "":
		return Socket{Kind: SocketClosed, At: closed}
	}
	return Socket{Kind: SocketOpen}
}

// may reports whether the user may search a directory or write to a socket. A file with an access control list counts
// as allowed; the list is not evaluated.
func (id identity) may(name string, stat *unix.Stat_t) bool {
	need := uint32(0o1)
	if stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		need = 0o2
	}
	switch {
	case id.uid == 0:
		return true
	case stat.Uid == id.uid:
		need <<= 6
	case slices.Contains(id.gids, stat.Gid):
		need <<= 3
	}
	return uint32(stat.Mode)&need != 0 || hasACL(name)
}

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
