package socketmap

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// chmodSocket sets the mode of the socket at path, and of nothing else: who may write to the directory could have put a
// link to another file in its place meanwhile, and chmod(2) follows links. The file is opened without being followed or
// connected to, looked at, and changed through that descriptor.
func chmodSocket(path string, mode fs.FileMode) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var file unix.Stat_t
	if err := unix.Fstat(fd, &file); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if file.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return fmt.Errorf("%s is no socket any more: another process has taken its place", path)
	}
	err = os.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), mode)
	if errors.Is(err, fs.ErrNotExist) { // no /proc: newer kernels can do without
		err = unix.Fchmodat(unix.AT_FDCWD, path, uint32(mode.Perm()), unix.AT_SYMLINK_NOFOLLOW)
	}
	return err
}
