package main

import (
	"errors"
	"net"

	"github.com/stsmapd/stsmapd/socketmap"
)

// echo is the server that stsmapd is measured against. It does nothing: a goroutine for each connection, one read for
// a question, one write of always the same reply. The arguments are the reply as a netstring, and the listeners as
// Postfix writes them.
func echo(args []string) error {
	if len(args) < 2 {
		return errors.New("echo: want a reply and addresses")
	}
	failed := make(chan error)
	for _, spec := range args[1:] {
		network, address, err := socketmap.ParseSpec(spec)
		if err != nil {
			return err
		}
		l, err := net.Listen(network, address)
		if err != nil {
			return err
		}
		go func() { failed <- echoOn(l, []byte(args[0])) }()
	}
	return <-failed
}

func echoOn(l net.Listener, reply []byte) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			question := make([]byte, 4096)
			for {
				if _, err := conn.Read(question); err != nil {
					return // the client has closed the connection
				}
				if _, err := conn.Write(reply); err != nil {
					return
				}
			}
		}()
	}
}
