package maillog

import "bytes"

// maxHeader bounds how far into a line its program is looked for: a time, a host, and what a container runtime puts
// in front.
const maxHeader = 512

// header is the front of a line, its time not yet read.
type header struct {
	stamp   []byte // time and host
	name    []byte // the program's name with its instance: "postfix-out/smtp"
	pid     []byte
	text    []byte
	program Program
}

// parseHeader returns the front of a line that one of our programs wrote. It is the filter in front of everything
// else: of the other lines it reads only a few bytes.
func parseHeader(line []byte) (header, bool) {
	line = bytes.TrimRight(line, "\r")
	if rest, ok := cutPriority(line); ok {
		if fields, ok := bytes.CutPrefix(rest, []byte("1 ")); ok {
			return parseRFC5424(fields)
		}
		line = rest
	}
	from := 0
	for {
		i := bytes.IndexByte(line[from:min(len(line), maxHeader)], '[')
		if i < 0 {
			return header{}, false
		}
		i += from
		end, ok := pidEnd(line, i+1)
		if !ok {
			from = i + 1
			continue
		}
		start := bytes.LastIndexByte(line[:i], ' ') + 1
		h := header{stamp: line[:start], name: line[start:i], pid: line[i+1 : end], text: line[end+2:]}
		h.program = programOf(h.name)
		// A tag that comes later is another program's text, whatever it looks like.
		if h.program == OtherProgram || bytes.Contains(h.stamp, []byte(": ")) {
			return header{}, false
		}
		h.text = bytes.TrimPrefix(h.text, []byte(" "))
		return h, true
	}
}

// pidEnd returns where the digits end that begin at i, if "]:" follows them.
func pidEnd(line []byte, i int) (int, bool) {
	end := i
	for end < len(line) && end-i < 10 && isDigit(line[end]) {
		end++
	}
	return end, end > i && end+1 < len(line) && line[end] == ']' && line[end+1] == ':'
}

// cutPriority removes "<22>", which stands in front of lines that were stored as they were sent.
func cutPriority(line []byte) ([]byte, bool) {
	if len(line) == 0 || line[0] != '<' {
		return line, false
	}
	end := bytes.IndexByte(line[:min(len(line), 5)], '>')
	if end < 2 || number(line[1:end]) < 0 {
		return line, false
	}
	return line[end+1:], true
}

// parseRFC5424 reads TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA MSG (RFC 5424 section 6).
func parseRFC5424(b []byte) (header, bool) {
	var h header
	_, rest, _ := bytes.Cut(b, []byte(" "))
	host, rest, ok := bytes.Cut(rest, []byte(" "))
	if !ok {
		return header{}, false
	}
	h.stamp = b[:len(b)-len(rest)]
	if string(host) == "-" {
		h.stamp = b[:len(b)-len(rest)-len("- ")]
	}
	h.name, rest, _ = bytes.Cut(rest, []byte(" "))
	if h.program = programOf(h.name); h.program == OtherProgram {
		return header{}, false
	}
	h.pid, rest, _ = bytes.Cut(rest, []byte(" "))
	_, rest, ok = bytes.Cut(rest, []byte(" "))
	if !ok {
		return header{}, false
	}
	rest = skipStructuredData(rest)
	h.text = bytes.TrimPrefix(bytes.TrimPrefix(rest, []byte(" ")), []byte("\xef\xbb\xbf"))
	return h, true
}

// skipStructuredData returns what follows "-" or [id name="value"]…; in values, a backslash quotes the next byte.
func skipStructuredData(b []byte) []byte {
	if len(b) > 0 && b[0] == '-' {
		return b[1:]
	}
	for len(b) > 0 && b[0] == '[' {
		quoted := false
		i := 1
		for ; i < len(b) && (quoted || b[i] != ']'); i++ {
			switch {
			case b[i] == '\\':
				i++
			case b[i] == '"':
				quoted = !quoted
			}
		}
		b = b[min(i+1, len(b)):]
	}
	return b
}

// programOf returns the program of a name such as "postfix/relay/smtp". A name without an instance is not Postfix's.
func programOf(name []byte) Program {
	slash := bytes.LastIndexByte(name, '/')
	if slash <= 0 {
		return OtherProgram
	}
	switch string(name[slash+1:]) {
	case "smtp":
		return SMTP
	case "error":
		return ErrorService
	case "qmgr", "nqmgr", "oqmgr":
		return QueueManager
	case "postsuper":
		return Postsuper
	case "tlsproxy":
		return TLSProxy
	default:
		return OtherProgram
	}
}

// fill makes the Line of a header.
func (h header) fill(c clock, line *Line) {
	*line = Line{Instance: h.name[:bytes.LastIndexByte(h.name, '/')], Program: h.program, PID: max(number(h.pid), 0),
		Text: h.text}
	stamp := h.stamp
	at, rest, ok := c.parse(stamp)
	if !ok {
		// docker compose and kubectl put the container's name in front: "mail_1  | Nov 23 …".
		if _, after, found := bytes.Cut(stamp, []byte("| ")); found {
			at, rest, ok = c.parse(after)
		}
	}
	if ok {
		line.Time, stamp = at, rest
	}
	stamp = bytes.TrimRight(stamp, " ")
	host := stamp[bytes.LastIndexByte(stamp, ' ')+1:]
	if isHost(host) {
		line.Host = host
	}
}

// isHost leaves out what is no host, and would be another one on each line: a time that could not be read, and the
// priority that some write in the host's place.
func isHost(b []byte) bool {
	switch string(b) {
	case "DEBUG", "INFO", "NOTICE", "WARNING", "WARN", "ERR", "ERROR", "CRIT", "|":
		return false
	}
	isTime := len(b) >= 8 && b[2] == ':' && b[5] == ':' || len(b) >= 19 && b[10] == 'T' && b[13] == ':'
	return !isTime
}
