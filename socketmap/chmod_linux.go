package socketmap

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// chmodSocket sets the mode of the socket at path, and fails for any other file. A process that may write to the
// directory could replace the socket by a link to another file, and chmod(2) follows links. So the file is opened
// without following a link, checked, and changed through its descriptor.
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
		return fmt.Errorf("%s is not a socket any more: another process has replaced it", path)
	}
	err = os.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), mode)
	if errors.Is(err, fs.ErrNotExist) { // no /proc is mounted; newer kernels do not need it
		err = unix.Fchmodat(unix.AT_FDCWD, path, uint32(mode.Perm()), unix.AT_SYMLINK_NOFOLLOW)
	}
	return err
}
