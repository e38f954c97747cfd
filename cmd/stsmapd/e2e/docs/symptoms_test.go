package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestSymptoms: what troubleshooting.md says that Postfix logs, Postfix logs: each heading is in the collection of its
// log lines.
func TestSymptoms(t *testing.T) {
	var lines string
	for _, name := range []string{"forms.txt", "joins.txt", "public.txt"} {
		text, err := os.ReadFile(filepath.Join(root, "cmd/stsmapd/maillog/testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		lines += string(text)
	}
	symptoms := regexp.MustCompile("(?m)^### `([^`]*)`$").FindAllStringSubmatch(
		readTree(t).documents["packaging/docs/troubleshooting.md"], -1)
	if len(symptoms) < 15 {
		t.Errorf("only %d symptoms", len(symptoms))
	}
	for _, symptom := range symptoms {
		pattern := regexp.QuoteMeta(symptom[1])
		for _, name := range []string{"DOMAIN", "MX:25", "MX", "REASON"} {
			pattern = strings.ReplaceAll(pattern, "'"+name+"'", `\S+`)
			pattern = regexp.MustCompile(`\b`+name+`\b`).ReplaceAllString(pattern, `\S+`)
		}
		if !regexp.MustCompile(pattern).MatchString(lines) {
			t.Errorf("no line of Postfix's has %q", symptom[1])
		}
	}
}

// logCall is where the source writes a line of the log.
type logCall struct {
	message []string        // what is constant of the message, with the values left out between
	event   string          // "": a value
	texts   map[string]bool // all constant texts of the file
}

// says reports whether the call writes a line that begins with text, in which DOMAIN stands for a value, and has the
// event.
func (c logCall) says(text, event string) bool {
	if c.event != event && (c.event != "" || !c.texts[event]) {
		return false
	}
	if c.message[0] == "" {
		return c.texts[text]
	}
	for i, part := range c.message {
		if len(text) <= len(part) {
			return strings.HasPrefix(part, text)
		}
		rest, ok := strings.CutPrefix(text, part)
		if !ok || i == len(c.message)-1 {
			return false
		}
		next := strings.Index(rest, c.message[i+1])
		if next < 0 {
			return !strings.Contains(rest, "DOMAIN") // it ends in the value
		}
		text = rest[next:]
	}
	return false
}

// verb is the place of a value in a format.
var verb = regexp.MustCompile(`%[a-z]`)

// constant returns the text of an expression, with a zero byte for each value in it.
func constant(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
			return verb.ReplaceAllString(text, "\x00")
		}
	case *ast.BinaryExpr:
		if e.Op == token.ADD {
			return constant(e.X) + constant(e.Y)
		}
	case *ast.CallExpr:
		if f, ok := e.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Sprintf" {
			return constant(e.Args[0])
		}
	}
	return "\x00"
}

// logCalls returns where the product writes lines with an event.
func logCalls(t *testing.T) []logCall {
	t.Helper()
	var calls []logCall
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		texts := map[string]bool{}
		for node := range ast.Preorder(file) {
			switch node := node.(type) {
			case *ast.BasicLit:
				texts[constant(node)] = true
			case *ast.CallExpr:
				f, ok := node.Fun.(*ast.SelectorExpr)
				if !ok || len(node.Args) == 0 || f.Sel.Name != "Error" && f.Sel.Name != "Warn" && f.Sel.Name != "Info" {
					continue
				}
				call := logCall{message: strings.Split(constant(node.Args[0]), "\x00"), texts: texts}
				if len(node.Args) > 2 && constant(node.Args[1]) == "event" {
					call.event = strings.Trim(constant(node.Args[2]), "\x00")
				}
				calls = append(calls, call)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return calls
}

// TestOwnSymptoms: what troubleshooting.md says that stsmapd logs, with which event, the source writes; so with each
// event that a document names.
func TestOwnSymptoms(t *testing.T) {
	calls, tree := logCalls(t), readTree(t)
	written := func(text, event string) bool {
		return slices.ContainsFunc(calls, func(c logCall) bool { return c.says(text, event) })
	}
	for text, event := range map[string]string{
		"policy for DOMAIN ends in TIME": "refresh_failing", "broken MTA-STS record": "fetch_failed",
		"no CA root is there": "no_roots", "cannot reach the engine": "shared_failing",
	} {
		if written(text, event) {
			t.Errorf("%q with %s passes, which is written nowhere", text, event)
		}
	}
	symptoms := regexp.MustCompile("(?m)^### `([^`]*)` \\(`event=(\\w+)`\\)$").FindAllStringSubmatch(
		tree.documents["packaging/docs/troubleshooting.md"], -1)
	if len(symptoms) < 15 {
		t.Errorf("only %d symptoms", len(symptoms))
	}
	for _, symptom := range symptoms {
		if !written(symptom[1], symptom[2]) {
			t.Errorf("no line of stsmapd's begins with %q and has event=%s", symptom[1], symptom[2])
		}
	}
	for document, text := range tree.documents {
		for _, event := range regexp.MustCompile(`event=(\w+)`).FindAllStringSubmatch(text, -1) {
			if !slices.ContainsFunc(calls, func(c logCall) bool { return c.texts[event[1]] }) {
				t.Errorf("%s: nothing logs event=%s", document, event[1])
			}
		}
	}
}
