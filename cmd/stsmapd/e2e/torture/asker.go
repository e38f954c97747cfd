package torture

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/stsmapd/stsmapd/socketmap/netstring"
)

// answerLimit is how long Postfix waits for a socketmap server.
const answerLimit = 100 * time.Second

// Asker is a connection to a daemon, like that of one of Postfix's smtp(8) processes. If it breaks, the next question
// opens another one. It must be used by one goroutine at a time.
type Asker struct {
	oracle  *Oracle
	address string
	conn    net.Conn
	in      *bufio.Reader
	out     []byte
	asked   []Question
}

// NewAsker returns an Asker for the daemon at a TCP address. The first question opens the connection.
func NewAsker(o *Oracle, address string) *Asker { return &Asker{oracle: o, address: address} }

// Close ends the connection.
func (a *Asker) Close() {
	if a.conn != nil {
		_ = a.conn.Close()
		a.conn = nil
	}
}

// Ask asks for all of these domains at once, judges each answer by the oracle, and returns the last one. It returns an
// error if the connection breaks; the remaining questions then get no answer.
func (a *Asker) Ask(domains ...string) (last string, err error) {
	a.out, a.asked = a.out[:0], a.asked[:0]
	for _, domain := range domains {
		a.out = netstring.Append(a.out, "sts ", domain)
		a.asked = append(a.asked, a.oracle.Ask(domain))
	}
	defer func() {
		if err != nil {
			a.Close()
			for _, q := range a.asked {
				a.oracle.unanswered(q)
			}
		}
	}()
	if err := a.send(); err != nil {
		return "", err
	}
	for len(a.asked) > 0 {
		if last, err = a.read(); err != nil {
			return "", err
		}
		a.oracle.Judge(a.asked[0], last)
		a.asked = a.asked[1:]
	}
	return last, nil
}

// send sends the questions.
func (a *Asker) send() error {
	if a.conn == nil {
		conn, err := net.DialTimeout("tcp", a.address, answerLimit)
		if err != nil {
			return err
		}
		a.conn, a.in = conn, bufio.NewReader(conn)
	}
	if err := a.conn.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		return err
	}
	_, err := a.conn.Write(a.out)
	return err
}

// read reads an answer, which is a netstring. It comes after those to the questions before it, as a connection's
// questions are answered one after the other: the limit is for each.
func (a *Asker) read() (string, error) {
	if err := a.conn.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		return "", err
	}
	size, err := a.in.ReadString(':')
	if err != nil {
		return "", err
	}
	n, err := strconv.Atoi(size[:len(size)-1])
	if err != nil || n < 0 || n > 1<<17 {
		return "", fmt.Errorf("an answer that begins with %q", size)
	}
	text := make([]byte, n+1)
	if _, err := io.ReadFull(a.in, text); err != nil {
		return "", err
	}
	if text[n] != ',' {
		return "", errors.New("an answer that does not end as a netstring")
	}
	return string(text[:n]), nil
}
