//go:build !linux

package doctor

// hasACL reports whether a file has an access control list. Only Linux's are known.
func hasACL(string) bool { return false }
