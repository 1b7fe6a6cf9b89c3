// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Op is what a command asks for.
type Op uint8

// The commands of docs/PROTOCOL.md.
const (
	OpSubscribe Op = iota + 1
	OpUnsubscribe
	OpList
	OpInterval
	OpAuth
	OpPing
	OpScreen
	OpUnscreen
)

var opNames = map[string]Op{
	"subscribe": OpSubscribe, "unsubscribe": OpUnsubscribe, "list": OpList,
	"interval": OpInterval, "auth": OpAuth, "ping": OpPing,
	"screen": OpScreen, "unscreen": OpUnscreen,
}

func (op Op) String() string {
	for name, o := range opNames {
		if o == op {
			return name
		}
	}
	return "op " + strconv.Itoa(int(op))
}

const (
	// IntervalMin and IntervalMax bound the window that a client may ask for, in
	// milliseconds.
	IntervalMin = 100
	IntervalMax = 60000

	// idMax bounds the id of a command, which comes back in its answer.
	idMax = 64
	// depthMax bounds the nesting of a command. Ours need 2; the rest is for keys
	// that are ignored.
	depthMax = 8
	// membersMax bounds the members of a command, nested ones included. Ours need 3. That
	// no key comes twice takes the decoder 1 µs for each, ten times as long as what else
	// as many bytes can hold.
	membersMax = 64
)

// ValidInterval reports whether a client may ask for a window of ms milliseconds.
func ValidInterval(ms int) bool { return ms >= IntervalMin && ms <= IntervalMax }

// Codes of the error and rejected parts of answers.
const (
	ErrMalformed     = 400
	ErrToken         = 401 // None that is good.
	ErrForbidden     = 403 // A topic that the token does not allow.
	ErrTooManyTopics = 413
	ErrBadTopic      = 422
	ErrTooFast       = 429 // Beyond the rate of the conn, or of its source.
	ErrUnsupported   = 501 // The source can't do it.
)

// Command is one client message.
type Command struct {
	Op Op
	// ID is the command's id as it was sent (a JSON number or string), nil if it
	// had none.
	ID     []byte
	Topics [][]byte // Of subscribe, unsubscribe and screen, unchecked.
	MS     int      // Of interval, within its bounds.
	Token  []byte   // Of auth. Never log it.
	Word   Word     // Of ping.

	// Of subscribe: the token up to which the client has all rows of the topics, if it has said
	// so. It is unchecked, and may be empty. Fresh are those of the topics that it has no row of.
	HasSince bool
	Since    []byte
	Fresh    [][]byte

	Screen Screen // Of screen, and the name of unscreen.

	Size Size
}

// Word says whether a ping was a word in place of a command. Libraries that keep connections
// alive send it, many of them with no way to send anything else. It is answered with a word of
// the same kind.
type Word uint8

// How the word stands in the message.
const (
	NoWord     Word = iota // It is a command.
	BareWord               // ping
	QuotedWord             // "ping"
)

// wordMax is more than any word has. A longer message is none.
const wordMax = 16

// wordOf returns which word a message is, with or without JSON's blanks around it.
func wordOf(msg []byte) Word {
	if len(msg) > wordMax {
		return NoWord
	}
	switch string(bytes.Trim(msg, " \t\r\n")) {
	case "ping":
		return BareWord
	case `"ping"`:
		return QuotedWord
	}
	return NoWord
}

// Size is what a message has taken to read, so that it can be charged for that. Both are 0
// for what was not read as a message.
type Size struct {
	Bytes int
	Parts int // Fragments and reads that it came in.
}

// CommandError says why a client message was refused. Reason is for the client's
// developer. ID is the command's, if it was read before the error was found.
type CommandError struct {
	Code   int
	Reason string
	At     int // One more than the byte of what was sent at which it is wrong; 0 for none.
	ID     []byte
	Size   Size // Of the message.
}

// Parser makes commands of client messages. What it returns is valid until its next
// call. Owned by one goroutine.
type Parser struct {
	topicsMax int
	dec       *jsontext.Decoder
	src       bytes.Buffer
	cmd       Command
	id        []byte
	text      []byte // The unquoted strings of the command.
}

// NewParser returns a parser that takes at most topicsMax topics in one command.
func NewParser(topicsMax int) *Parser {
	p := &Parser{topicsMax: topicsMax}
	p.dec = jsontext.NewDecoder(&p.src)
	return p
}

// MessageMax is the message limit that goes with topicsMax topics a command: the
// longest legal command and some room for blanks. At 256 topics it is 20 KiB.
func MessageMax(topicsMax int) int { return 3<<10 + topicsMax*68 }

// Parse parses one text message. Unknown keys are ignored. A key that comes twice,
// anything after the object and nesting of more than 8 are errors. The word ping is taken for
// the command.
func (p *Parser) Parse(msg []byte) (*Command, *CommandError) {
	if w := wordOf(msg); w != NoWord {
		p.cmd = Command{Op: OpPing, Word: w, Topics: p.cmd.Topics[:0]}
		return &p.cmd, nil
	}
	p.src = *bytes.NewBuffer(msg)
	p.dec.Reset(&p.src)
	p.cmd = Command{Topics: p.cmd.Topics[:0]}
	p.text = p.text[:0]
	switch depth, members := measure(msg); {
	case depth > depthMax:
		return nil, malformed("more than %d levels of nesting", depthMax)
	case members > membersMax:
		return nil, malformed("more than %d members", membersMax)
	}
	wrong, err := p.parse()
	if err != nil {
		wrong = syntaxError(err)
	}
	if wrong != nil {
		wrong.ID = p.cmd.ID
		return nil, wrong
	}
	return &p.cmd, nil
}

// measure returns how deep msg nests, up to one level more than depthMax, and how many
// members its objects have. The decoder keeps a byte or more for each level, and a hash for
// each member, and has no limits of its own, or none below 10,000.
func measure(msg []byte) (deepest, members int) {
	depth, inString := 0, false
	for i := 0; i < len(msg) && deepest <= depthMax; i++ {
		switch c := msg[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		case c == ':':
			members++
		}
	}
	return deepest, members
}

func malformed(format string, args ...any) *CommandError {
	return &CommandError{Code: ErrMalformed, Reason: fmt.Sprintf(format, args...)}
}

// members is what parse has found of a command.
type members struct {
	op                               string
	hasOp, topics, ms, token, screen bool
	bare                             bool // The topics are one string.
}

// parse reads a message. wrong is set if it is well-formed JSON but no command.
func (p *Parser) parse() (wrong *CommandError, err error) {
	if start, err := p.dec.ReadToken(); err != nil || start.Kind() != '{' {
		return malformed("a command is a JSON object"), err
	}
	var found members
	for p.dec.PeekKind() == '"' {
		name, err := p.dec.ReadToken()
		if err != nil {
			return nil, err
		}
		// The first wrong value counts; the id may come after it.
		if one, err := p.member(name.String(), &found); err != nil {
			return nil, err
		} else if wrong == nil {
			wrong = one
		}
	}
	if _, err := p.dec.ReadToken(); err != nil { // The closing brace, or what stands there instead.
		return nil, err
	}
	if _, err := p.dec.ReadToken(); err != io.EOF {
		return malformed("a message holds one command and nothing after it"), nil
	}
	p.cmd.Op = opNames[found.op]
	switch {
	case wrong != nil:
	case !found.hasOp:
		wrong = malformed("op is missing")
	case p.cmd.Op == 0:
		wrong = malformed("unknown op %q", Cut(found.op, idMax))
	case (p.cmd.Op == OpSubscribe || p.cmd.Op == OpUnsubscribe) && !found.topics:
		wrong = malformed("%s needs topics", found.op)
	case p.cmd.Op != OpScreen && found.bare:
		wrong = malformed("topics is a list of strings")
	case (p.cmd.Op == OpScreen || p.cmd.Op == OpUnscreen) && !found.screen:
		wrong = malformed("%s needs screen, a name for it", found.op)
	case p.cmd.Op == OpScreen && !found.topics:
		wrong = malformed(`screen needs topics, such as "crypto:*"`)
	case p.cmd.Op == OpInterval && !found.ms:
		wrong = malformed("interval needs ms, a whole number from %d to %d", IntervalMin, IntervalMax)
	case p.cmd.Op == OpAuth && !found.token:
		wrong = malformed("auth needs token")
	}
	return wrong, nil
}

// member reads the value of a member, as parse does.
func (p *Parser) member(name string, found *members) (wrong *CommandError, err error) {
	switch name {
	case "op", "id", "ms", "token", "since":
	case "screen", "where", "by", "top":
		return p.screen(name, found)
	case "topics":
		found.topics = true
		return p.topics(found)
	default:
		return nil, p.dec.SkipValue()
	}
	v, err := p.dec.ReadValue()
	if err != nil {
		return nil, err
	}
	isString := v.Kind() == '"'
	switch name {
	case "op":
		found.hasOp = true
		if !isString {
			return malformed("op is a string"), nil
		}
		found.op = string(p.unquote(v))
	case "id":
		if !isString && v.Kind() != '0' || len(v) > idMax+2 || !isString && len(v) > idMax {
			return malformed("id is a number or a string of at most %d bytes", idMax), nil
		}
		p.id = append(p.id[:0], v...)
		p.cmd.ID = p.id
	case "ms":
		found.ms = true
		p.cmd.MS, err = strconv.Atoi(string(v))
		if err != nil || !ValidInterval(p.cmd.MS) {
			return malformed("ms is a whole number from %d to %d", IntervalMin, IntervalMax), nil
		}
	case "token":
		found.token = true
		if !isString {
			return malformed("token is a string"), nil
		}
		p.cmd.Token = p.unquote(v)
	case "since":
		if !isString {
			return malformed("since is a string: the token of the last resume message, or an empty one"), nil
		}
		p.cmd.HasSince, p.cmd.Since = true, p.unquote(v)
	}
	return nil, nil
}

// topics reads the list of topics, as parse does, or the one of a screen.
func (p *Parser) topics(found *members) (wrong *CommandError, err error) {
	if found.bare = p.dec.PeekKind() == '"'; found.bare {
		v, err := p.dec.ReadValue()
		if err == nil {
			p.cmd.Topics = append(p.cmd.Topics[:0], p.unquote(v))
		}
		return nil, err
	}
	if p.dec.PeekKind() != '[' {
		return malformed("topics is a list of strings"), p.dec.SkipValue()
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return nil, err
	}
	for p.dec.PeekKind() != ']' {
		v, err := p.dec.ReadValue()
		switch {
		case err != nil:
			return nil, err
		case wrong != nil:
		case v.Kind() != '"':
			wrong = malformed("topics is a list of strings")
		case len(p.cmd.Topics) == p.topicsMax:
			wrong = &CommandError{Code: ErrTooManyTopics, Reason: fmt.Sprintf("more than %d topics in one command", p.topicsMax)}
		default:
			p.cmd.Topics = append(p.cmd.Topics, p.unquote(v))
		}
	}
	_, err = p.dec.ReadToken()
	return wrong, err
}

// unquote appends a JSON string's text to p.text and returns it. Text that was
// returned before stays where it was if p.text has to move.
func (p *Parser) unquote(v jsontext.Value) []byte {
	start := len(p.text)
	// The value came from the decoder, so it is a valid string.
	p.text, _ = jsontext.AppendUnquote(p.text, v)
	return p.text[start:len(p.text):len(p.text)]
}

func syntaxError(err error) *CommandError {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return malformed("malformed JSON: the message ends too early")
	}
	var s *jsontext.SyntacticError
	if errors.As(err, &s) {
		return malformed("malformed JSON at byte %d: %v", s.ByteOffset, s.Err)
	}
	return malformed("malformed JSON: %v", err)
}
