package fetch

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"syscall"

	"github.com/stsmapd/stsmapd/resolver/dnsclient"
)

// Reason says what happened to the owner of the domain, who reads it in a TLSRPT report. A collector counts failures as
// one only while the words are the same, so they hold no address, port, name or time. It is "" for a fault of this
// host.
func (e *Error) Reason() string {
	switch e.Kind {
	case HostFault:
		return ""
	case Certificate:
		return certificateReason(e.Err)
	case Unreachable:
		return unreachableReason(e)
	}
	return printable(e.Err.Error())
}

func certificateReason(err error) string {
	var (
		verify  *tls.CertificateVerificationError
		name    x509.HostnameError
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &name):
		return "the policy host's certificate is for another name"
	case errors.As(err, &unknown):
		if errors.As(err, &verify) && lacksIntermediate(verify.UnverifiedCertificates) {
			return "the policy host's certificate is from an unknown authority, or the policy host does not send an " +
				"intermediate certificate"
		}
		return "the policy host's certificate is from an unknown authority"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the policy host's certificate has expired or is not valid yet"
	}
	return "the policy host's certificate is invalid"
}

// lacksIntermediate reports whether a chain is a lone certificate that has not signed itself.
func lacksIntermediate(chain []*x509.Certificate) bool {
	return len(chain) == 1 && string(chain[0].RawIssuer) != string(chain[0].RawSubject)
}

// unreachableReason tells DNS, TCP, TLS and HTTP apart.
func unreachableReason(e *Error) string {
	var (
		lookup  *dnsclient.Error
		private notPublicError
		errno   syscall.Errno
	)
	switch {
	case errors.Is(e.Err, errNoAddress):
		return "the policy host has no address in the DNS"
	case errors.As(e.Err, &lookup):
		return "the addresses of the policy host cannot be looked up: " + lookup.Kind.String()
	case errors.As(e.Err, &private):
		return "the policy host's addresses are not public"
	case strings.HasPrefix(e.stage, "TLS"):
		return tlsReason(e.Err)
	case strings.HasPrefix(e.stage, "HTTP"):
		return httpReason(e.Err)
	case errors.As(e.Err, &errno):
		return "the policy host cannot be reached: " + errno.Error()
	}
	return "the policy host could not be reached, or did not answer in time"
}

// tlsReason describes a handshake that failed. An alert says why the policy host refused it, as far as it tells.
func tlsReason(err error) string {
	var (
		op     *net.OpError
		record tls.RecordHeaderError
	)
	alert := ""
	if errors.As(err, &op) && op.Op == "remote error" {
		alert = strings.TrimPrefix(op.Err.Error(), "tls: ")
	}
	switch {
	case alert == "protocol version not supported", strings.Contains(err.Error(), "unsupported protocol version"):
		return "the policy host speaks only TLS versions before 1.2"
	case alert == "handshake failure":
		return "the policy host refuses the TLS handshake (handshake failure): it may have only RSA key exchange or " +
			"old ciphers"
	case alert == "no application protocol":
		return "the policy host speaks only HTTP/2"
	case alert != "":
		return "the policy host refuses the TLS handshake: " + printable(alert)
	case errors.As(err, &record):
		return "the policy host does not speak TLS"
	case errors.Is(err, errCutOff), errors.Is(err, syscall.ECONNRESET):
		return "the policy host closed the connection during the TLS handshake"
	}
	return "the TLS handshake with the policy host failed, or took too long"
}

// httpReason describes an exchange that failed before a complete response.
func httpReason(err error) string {
	switch {
	case strings.Contains(err.Error(), `malformed HTTP response "\x00\x00`): // a frame of SETTINGS
		return "the policy host speaks only HTTP/2"
	case strings.Contains(err.Error(), "malformed HTTP"):
		return "the policy host's answer is not HTTP"
	case errors.Is(err, errCutOff), errors.Is(err, syscall.ECONNRESET):
		return "the policy host closed the connection before its answer was complete"
	}
	return "the policy host did not answer the request, or took too long"
}

// Check says whose trouble a failed fetch is, and what to check: one clause for the administrator of this host.
func (e *Error) Check() string {
	const publisher = "the domain's publisher must repair it"
	var (
		lookup  *dnsclient.Error
		private notPublicError
	)
	switch {
	case e.Kind == HostFault:
		return "repair this host"
	case e.Kind != Unreachable:
		return publisher
	case errors.As(e.Err, &private):
		return publisher + ", unless this network maps addresses (NAT64): then list its prefix in " +
			"fetch.allow_private_addresses"
	case errors.As(e.Err, &lookup):
		return publisher + " in its DNS, unless lookups fail here for other domains too"
	case strings.HasPrefix(e.stage, "connect"):
		return publisher + ", unless this network lets no HTTPS pass to it"
	}
	return publisher
}
