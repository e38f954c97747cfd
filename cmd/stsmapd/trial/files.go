package trial

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// link makes the other files of the configuration directory, such as tables, appear in that of the instance.
func (i *instance) link() error {
	info, err := os.Stat(i.facts.Directory)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(i.facts.Directory)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if name := e.Name(); name != "main.cf" && name != "master.cf" {
			err = errors.Join(err, os.Symlink(filepath.Join(i.facts.Directory, name), filepath.Join(i.config, name)))
		}
	}
	return errors.Join(err, os.Chmod(i.config, info.Mode().Perm()))
}

// fillQueue makes the rest of the queue directory appear in that of the instance: it is what SMTP clients see in the
// chroot, and has sockets by which they ask. Postfix's queues and its sockets are left out, and other file systems.
func (i *instance) fillQueue() error {
	from := i.facts.Parameters["queue_directory"]
	top, err := stat(from)
	if err != nil {
		return err
	}
	return filepath.WalkDir(from, func(name string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it is gone meanwhile
		}
		if err != nil {
			return err
		}
		rest, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		dir, base := filepath.Split(rest)
		to := filepath.Join(i.queue, rest)
		switch {
		case rest == "." || rest == "private" || rest == "public":
			return nil
		case dir == "" && (rest == "pid" || slices.Contains(queues(), rest)):
			return fs.SkipDir
		case (dir == "private/" || dir == "public/") && i.master(base):
			return nil
		case e.IsDir():
			info, err := stat(name)
			if err == nil && info.Dev != top.Dev {
				return fs.SkipDir
			}
			return errors.Join(err, os.Mkdir(to, 0o700), os.Chown(to, int(info.Uid), int(info.Gid)),
				os.Chmod(to, fs.FileMode(info.Mode&0o777)))
		}
		return copyFile(name, to, e.Type())
	})
}

// stat returns what the system knows of a file.
func stat(name string) (syscall.Stat_t, error) {
	var info syscall.Stat_t
	if err := syscall.Stat(name, &info); err != nil {
		return info, fmt.Errorf("stat %s: %w", name, err)
	}
	return info, nil
}

// master reports whether a socket is one of master(8).
func (i *instance) master(socket string) bool {
	for _, s := range i.facts.Services {
		if name, _, _ := strings.Cut(s.Name, "/"); name == socket {
			return true
		}
	}
	return strings.Contains("\n"+ownServices, "\n"+socket+" ")
}

// copyFile makes a file, a socket or whatever else appear in another place. Into another file system, only files are
// copied.
func copyFile(from, to string, kind fs.FileMode) error {
	err := os.Link(from, to)
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist), !kind.IsRegular() && errors.Is(err, syscall.EXDEV):
		return nil
	case !kind.IsRegular():
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(0o644), out.Close())
}
