package doctor

import "golang.org/x/sys/unix"

// hasACL reports whether a file has an access control list.
func hasACL(name string) bool {
	n, err := unix.Lgetxattr(name, "system.posix_acl_access", nil)
	return err == nil && n > 0
}
