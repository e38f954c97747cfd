package socketmap

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stsmapd/stsmapd/resolver/testkit"
)

// specCases are the table of TestParseSpec and the seeds of FuzzParseSpec; an empty network is an error.
var specCases = []struct {
	spec, network, address, why string
}{
	{"inet:127.0.0.1:8461", "tcp4", "127.0.0.1:8461", "the default listener"},
	{"inet:0.0.0.0:8461", "tcp4", "0.0.0.0:8461", "all of IPv4, and not IPv6"},
	{"inet:[::1]:8461", "tcp", "[::1]:8461", "IPv6 as Postfix writes it"},
	{"inet:[::]:8461", "tcp", "[::]:8461", "everything"},
	{"inet:localhost:8461", "tcp", "localhost:8461", "a name"},
	{"inet:localhost:smtp", "tcp", "localhost:smtp", "a service's name"},
	{"unix:/run/stsmapd/socketmap", "unix", "/run/stsmapd/socketmap", "a path"},
	{"unix:/run//stsmapd/./socketmap", "unix", "/run/stsmapd/socketmap", "the path is cleaned"},
	{"unix:/run/a:b", "unix", "/run/a:b", "a colon in a path"},
	{"unix:/" + strings.Repeat("x", 106), "unix", "/" + strings.Repeat("x", 106), "the longest path"},

	{"", "", "", "nothing"},
	{"127.0.0.1:8461", "", "", "no inet:"},
	{"tcp:127.0.0.1:8461", "", "", "not a type of Postfix's"},
	{"INET:127.0.0.1:8461", "", "", "Postfix wants lower case"},
	{"inet:8461", "", "", "no host"},
	{"inet::8461", "", "", "an empty host might mean all or local"},
	{"inet:127.0.0.1:", "", "", "an empty port"},
	{"inet:127.0.0.1", "", "", "no port"},
	{"inet:::1:8461", "", "", "IPv6 without brackets"},
	{"inet:127.0.0.1:8461:sts", "", "", "Postfix's form with the map name"},
	{"unix:socketmap", "", "", "a relative path"},
	{"unix:", "", "", "no path"},
	{"unix:/", "", "", "a directory"},
	{"unix:/run/stsmapd/", "", "", "a directory"},
	{"unix:/run/a\x00b", "", "", "no file name has a NUL"},
	{"unix:@abstract", "", "", "Postfix knows no abstract sockets"},
	{"unix:/" + strings.Repeat("x", 107), "", "", "longer than the kernel accepts"},
}

func TestParseSpec(t *testing.T) {
	for _, c := range specCases {
		network, address, err := ParseSpec(c.spec)
		var bad *SpecError
		if network != c.network || address != c.address || errors.As(err, &bad) != (c.network == "") {
			t.Errorf("%s: ParseSpec(%q) = %q, %q, %v; want %q, %q", c.why, c.spec, network, address, err, c.network,
				c.address)
		}
		if err != nil && !strings.Contains(err.Error(), strconv.Quote(c.spec)) {
			t.Errorf("the error for %q does not name it: %v", c.spec, err)
		}
	}
}

func FuzzParseSpec(f *testing.F) {
	for _, c := range specCases {
		f.Add(c.spec)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		network, address, err := ParseSpec(spec)
		var bad *SpecError
		switch {
		case err != nil && !errors.As(err, &bad):
			t.Fatalf("%T: %v", err, err)
		case network == "unix" && (!filepath.IsAbs(address) || len(address) > maxSocketPath):
			t.Fatalf("%q gives the path %q", spec, address)
		case err == nil && network != "unix" && "inet:"+address != spec:
			t.Fatalf("%q gives %q", spec, address)
		}
	})
}

func listen(t *testing.T, spec string, opt ListenOptions) net.Listener {
	t.Helper()
	ln, err := Listen(spec, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// answers checks that the server at spec answers with want.
func answers(t *testing.T, spec, want string) {
	t.Helper()
	c, err := Dial(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if reply, err := c.Ask(t.Context(), "sts", "a"); err != nil || reply != OK(want) {
		t.Errorf("%s answers %v, %v; want %s", spec, reply, err, want)
	}
}

func TestListenInet(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::]"} {
		t.Run(host, func(t *testing.T) {
			if host[0] == '[' {
				needIPv6(t)
			}
			ln := listen(t, "inet:"+host+":0", ListenOptions{})
			start(t, &Server{Handler: echo}, ln)
			_, port, _ := net.SplitHostPort(ln.Addr().String())
			answers(t, "inet:"+host+":"+port, "sts|a")
		})
	}
}

// needIPv6 skips the test on a host without the address ::1, as in many containers.
func needIPv6(t *testing.T) {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.Equal(net.IPv6loopback) {
			return
		}
	}
	testkit.Skip(t, "this host has no address ::1")
}

func TestListenIPv4IsIPv4(t *testing.T) {
	ln := listen(t, "inet:0.0.0.0:0", ListenOptions{})
	if got := ln.Addr().(*net.TCPAddr); got.IP.To4() == nil {
		t.Errorf("inet:0.0.0.0 listens on %v, IPv6 as well", got)
	}
}

func TestListenInetInUse(t *testing.T) {
	ln := listen(t, "inet:127.0.0.1:0", ListenOptions{})
	spec := "inet:" + ln.Addr().String()
	if _, err := Listen(spec, ListenOptions{}); !errors.Is(err, errInUse) || !strings.Contains(err.Error(), spec) {
		t.Errorf("the second listener: %v", err)
	}
}

func TestListenUnix(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		opt  ListenOptions
		mode fs.FileMode
		why  string
	}{
		{ListenOptions{}, 0o666, "the default: every user"},
		{ListenOptions{Mode: 0o660, Group: strconv.Itoa(os.Getgid())}, 0o660, "one group"},
		{ListenOptions{Mode: 0o777}, 0o777, "independent of the umask"},
	} {
		path := filepath.Join(dir, "sock")
		ln := listen(t, "unix:"+path, c.opt)
		file, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if file.Mode() != c.mode|fs.ModeSocket {
			t.Errorf("%s: mode %v, want %v", c.why, file.Mode(), c.mode)
		}
		if got := ln.Addr(); got.String() != path || got.Network() != "unix" {
			t.Errorf("%s: Addr() = %v", c.why, got)
		}
		srv := &Server{Handler: echo}
		start(t, srv, ln)
		answers(t, "unix:"+path, "sts|a")
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Errorf("%s: %v", c.why, err)
		}
		wantFiles(t, dir)
	}
}

func TestListenUnixGroup(t *testing.T) {
	gid := os.Getgid()
	if os.Getuid() == 0 {
		gid = 12345 // root may use any group
	}
	path := filepath.Join(t.TempDir(), "sock")
	listen(t, "unix:"+path, ListenOptions{Group: strconv.Itoa(gid)})
	file, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := file.Sys().(*syscall.Stat_t).Gid; int(got) != gid {
		t.Errorf("group %d, want %d", got, gid)
	}
}

func TestBadListenOptions(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		opt       ListenOptions
		want, why string
	}{
		{ListenOptions{Group: "no-such-group"}, `"no-such-group"`, "the error has the group's name"},
		{ListenOptions{Mode: 0o1777}, "01777", "the sticky bit is refused"},
		{ListenOptions{Mode: fs.ModeDir | 0o700}, "0777", "as is a file type"},
	} {
		ln, err := Listen("unix:"+filepath.Join(dir, "sock"), c.opt)
		if err == nil {
			ln.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.why, err)
		}
	}
	wantFiles(t, dir)
}

// wantFiles checks that dir has exactly these files.
func wantFiles(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(names, " ") {
		t.Errorf("%s has %q, want %q", dir, got, names)
	}
}
