package doctor

import (
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

// bundles are where systems keep their CA certificates in one file.
func bundles() []string {
	return []string{
		"/etc/ssl/certs/ca-certificates.crt",     // Debian, Ubuntu, Arch, Gentoo, Alpine
		"/etc/pki/tls/certs/ca-bundle.crt",       // Fedora, RHEL
		"/etc/ssl/ca-bundle.pem",                 // openSUSE
		"/etc/ssl/cert.pem",                      // Alpine, OpenBSD, macOS
		"/usr/local/share/certs/ca-root-nss.crt", // FreeBSD
	}
}

// bundle is the first of these files that will do, "" if none does.
func bundle(files []string) string {
	for _, name := range files {
		if certificates(name) == FileGood {
			return name
		}
	}
	return ""
}

// maxBundle bounds what is read of a file of certificates; those of systems have a quarter of a megabyte.
const maxBundle = 64 << 20

// certificates looks for a certificate in a file.
func certificates(name string) File {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO must not make us wait
	if err != nil {
		return failed(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return FileEmpty
	}
	text, err := io.ReadAll(io.LimitReader(f, maxBundle))
	if err != nil {
		return failed(err)
	}
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return FileEmpty
		}
		// OpenSSL takes X509 CERTIFICATE and TRUSTED CERTIFICATE as well
		if strings.HasSuffix(block.Type, "CERTIFICATE") {
			return FileGood
		}
	}
}

// failed says what an error means for a file.
func failed(err error) File {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return FileMissing
	case errors.Is(err, unix.EISDIR), errors.Is(err, unix.ENOTDIR):
		return FileEmpty
	}
	return FileUnknown
}

// hashed looks for certificates in a directory, under the names by which OpenSSL finds them there.
func hashed(name string) File {
	entries, err := os.ReadDir(name)
	if err != nil {
		return failed(err)
	}
	byHash := regexp.MustCompile(`^[0-9a-f]{8}\.[0-9]+$`)
	if slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return byHash.MatchString(e.Name()) }) {
		return FileGood
	}
	return FileEmpty
}

// present reports whether there is a file.
func present(name string) File {
	if _, err := os.Stat(name); err != nil {
		return failed(err)
	}
	return FileGood
}

// identity is a user with his groups; the zero identity is nobody known.
type identity struct {
	known bool
	uid   uint32
	gids  []uint32
}

// lookup finds a user of this host. Postfix's programs have all groups of their user, as initgroups(3) sets them.
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

// socket finds out whether the user can connect to a UNIX socket: he must be allowed to search the directories and to
// write to the socket.
func (id identity) socket(way Reach) Socket {
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
		case err != nil || stat.Mode&unix.S_IFMT == unix.S_IFLNK: // in a chroot it may lead elsewhere than from here
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

// may reports whether the user may search this directory, or write to this socket. Access control lists may allow it in
// ways that are not looked into here.
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

func hasACL(name string) bool {
	n, err := unix.Lgetxattr(name, "system.posix_acl_access", nil)
	return err == nil && n > 0
}
