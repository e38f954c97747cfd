//go:build !linux

package socketmap

import (
	"io/fs"
	"os"
)

// chmodSocket sets the mode of the socket at path.
func chmodSocket(path string, mode fs.FileMode) error { return os.Chmod(path, mode) }
