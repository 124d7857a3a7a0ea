package main

// Canonical CBOR, docs/protocol.md §1.1. Values: nil, bool, int64, string, []byte, []any, map[string]any.

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"sort"
	"unicode/utf8"
)

const (
	maxInteger = 1<<53 - 1
	maxDepth   = 16
	maxArray   = 4096
	maxMap     = 1024
)

func encode(value any) []byte {
	var out bytes.Buffer
	write(&out, value)
	return out.Bytes()
}

func write(out *bytes.Buffer, value any) {
	switch v := value.(type) {
	case nil:
		out.WriteByte(0xf6)
	case bool:
		if v {
			out.WriteByte(0xf5)
		} else {
			out.WriteByte(0xf4)
		}
	case int:
		write(out, int64(v))
	case int64:
		if v >= 0 {
			writeHead(out, 0, uint64(v))
		} else {
			writeHead(out, 1, uint64(-1-v))
		}
	case []byte:
		writeHead(out, 2, uint64(len(v)))
		out.Write(v)
	case string:
		writeHead(out, 3, uint64(len(v)))
		out.WriteString(v)
	case []any:
		writeHead(out, 4, uint64(len(v)))
		for _, item := range v {
			write(out, item)
		}
	case [][]byte:
		writeHead(out, 4, uint64(len(v)))
		for _, item := range v {
			write(out, item)
		}
	case map[string]any:
		keys := make([]string, 0, len(v))
		for key := range v {
			keys = append(keys, key)
		}
		sort.Slice(keys, func(i, j int) bool { return keyBefore(keys[i], keys[j]) })
		writeHead(out, 5, uint64(len(v)))
		for _, key := range keys {
			write(out, key)
			write(out, v[key])
		}
	default:
		panic(fmt.Sprintf("cannot encode %T", value))
	}
}

func writeHead(out *bytes.Buffer, major byte, n uint64) {
	switch {
	case n < 24:
		out.WriteByte(major<<5 | byte(n))
	case n <= math.MaxUint8:
		out.Write([]byte{major<<5 | 24, byte(n)})
	case n <= math.MaxUint16:
		out.WriteByte(major<<5 | 25)
		out.Write(binary.BigEndian.AppendUint16(nil, uint16(n)))
	case n <= math.MaxUint32:
		out.WriteByte(major<<5 | 26)
		out.Write(binary.BigEndian.AppendUint32(nil, uint32(n)))
	default:
		out.WriteByte(major<<5 | 27)
		out.Write(binary.BigEndian.AppendUint64(nil, n))
	}
}

// By length first, then bytewise.
func keyBefore(a, b string) bool {
	if len(a) != len(b) {
		return len(a) < len(b)
	}
	return a < b
}

type reader struct {
	in []byte
	at int
}

func decode(in []byte) (any, error) {
	r := &reader{in: in}
	value, err := r.value(0)
	if err != nil {
		return nil, err
	}
	if r.at != len(in) {
		return nil, fail("BAD_REQUEST", "trailing bytes")
	}
	return value, nil
}

func (r *reader) head() (major byte, info byte, n uint64, err error) {
	if r.at >= len(r.in) {
		return 0, 0, 0, fail("BAD_REQUEST", "CBOR ends early")
	}
	first := r.in[r.at]
	r.at++
	major, info = first>>5, first&31
	if major == 7 {
		return major, info, 0, nil
	}
	if info < 24 {
		return major, info, uint64(info), nil
	}
	if info > 27 {
		return 0, 0, 0, fail("BAD_REQUEST", "indefinite or reserved length")
	}
	size := 1 << (info - 24)
	if r.at+size > len(r.in) {
		return 0, 0, 0, fail("BAD_REQUEST", "CBOR ends inside a length")
	}
	for _, b := range r.in[r.at : r.at+size] {
		n = n<<8 | uint64(b)
	}
	r.at += size
	least := []uint64{24, 1 << 8, 1 << 16, 1 << 32}[info-24]
	if n < least {
		return 0, 0, 0, fail("BAD_REQUEST", "an integer or length that is not in its shortest form")
	}
	return major, info, n, nil
}

func (r *reader) value(depth int) (any, error) {
	major, info, n, err := r.head()
	if err != nil {
		return nil, err
	}
	switch major {
	case 0:
		if n > maxInteger {
			return nil, fail("BAD_REQUEST", "an integer over 2^53 - 1")
		}
		return int64(n), nil
	case 1:
		if n >= maxInteger {
			return nil, fail("BAD_REQUEST", "an integer under -(2^53 - 1)")
		}
		return -1 - int64(n), nil
	case 2, 3:
		if n > uint64(len(r.in)-r.at) {
			return nil, fail("BAD_REQUEST", "a string that is longer than the input")
		}
		data := r.in[r.at : r.at+int(n)]
		r.at += int(n)
		if major == 2 {
			return bytes.Clone(data), nil
		}
		if !utf8.Valid(data) {
			return nil, fail("BAD_REQUEST", "text that is not UTF-8")
		}
		return string(data), nil
	case 4:
		if n > maxArray {
			return nil, fail("TOO_LARGE", "an array that is too long")
		}
		if depth >= maxDepth {
			return nil, fail("TOO_LARGE", "nested too deeply")
		}
		items := make([]any, 0, n)
		for range n {
			item, err := r.value(depth + 1)
			if err != nil {
				return nil, err
			}
			items = append(items, item)
		}
		return items, nil
	case 5:
		if n > maxMap {
			return nil, fail("TOO_LARGE", "a map that is too large")
		}
		if depth >= maxDepth {
			return nil, fail("TOO_LARGE", "nested too deeply")
		}
		return r.entries(int(n), depth)
	case 7:
		switch info {
		case 20:
			return false, nil
		case 21:
			return true, nil
		case 22:
			return nil, nil
		}
	}
	return nil, fail("BAD_REQUEST", "a tag, float or other simple value")
}

func (r *reader) entries(count, depth int) (any, error) {
	out := make(map[string]any, count)
	last := ""
	for i := range count {
		key, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		name, ok := key.(string)
		if !ok {
			return nil, fail("BAD_REQUEST", "a map key that is not text")
		}
		for _, b := range []byte(name) {
			if b > 0x7f {
				return nil, fail("BAD_REQUEST", "a map key that is not ASCII")
			}
		}
		if name == "__proto__" || name == "constructor" || name == "prototype" {
			return nil, fail("BAD_REQUEST", "the map key %s", name)
		}
		if i > 0 && !keyBefore(last, name) {
			return nil, fail("BAD_REQUEST", "map keys out of order")
		}
		last = name
		if out[name], err = r.value(depth + 1); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// An error with a code of §23.
type protocolError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

func (e *protocolError) Error() string { return e.Code + ": " + e.Message }

// What the other side said, as against what we found wrong.
type remoteError struct{ said *protocolError }

func (e *remoteError) Error() string { return "the other side says " + e.said.Error() }

func fail(code, format string, args ...any) error {
	return &protocolError{Code: code, Message: fmt.Sprintf(format, args...)}
}

// fields reads a map whose fields are all known; the first thing that is wrong stays in err.
type fields struct {
	what string
	m    map[string]any
	seen map[string]bool
	err  error
}

func readFields(value any, what string) *fields {
	m, ok := value.(map[string]any)
	f := &fields{what: what, m: m, seen: map[string]bool{}}
	if !ok {
		f.err = fail("BAD_REQUEST", "%s is a map", what)
	}
	return f
}

func readBytes(in []byte, what string) *fields {
	value, err := decode(in)
	f := readFields(value, what)
	if err != nil {
		f.err = err
	}
	return f
}

func (f *fields) raw(name string) any {
	f.seen[name] = true
	return f.m[name]
}

func (f *fields) has(name string) bool {
	_, ok := f.m[name]
	return ok
}

func (f *fields) wrong(name, expected string) {
	if f.err == nil {
		f.err = fail("BAD_REQUEST", "%s: %s is %s", f.what, name, expected)
	}
}

func (f *fields) bytes(name string, length int) []byte {
	b, ok := f.raw(name).([]byte)
	if !ok || (length >= 0 && len(b) != length) {
		f.wrong(name, fmt.Sprintf("%d bytes", length))
		return make([]byte, max(length, 0))
	}
	return b
}

func (f *fields) id(name string) id { return id(f.bytes(name, 32)) }

func (f *fields) text(name string) string {
	s, ok := f.raw(name).(string)
	if !ok {
		f.wrong(name, "a text")
	}
	return s
}

func (f *fields) name(name string) string {
	s, ok := f.raw(name).(string)
	if !ok || !isName(s) {
		f.wrong(name, "a name")
	}
	return s
}

func (f *fields) oneOf(name string, allowed ...string) string {
	s, _ := f.raw(name).(string)
	for _, one := range allowed {
		if s == one {
			return s
		}
	}
	f.wrong(name, fmt.Sprintf("one of %v", allowed))
	return s
}

func (f *fields) integer(name string, least, most int64) int64 {
	n, ok := f.raw(name).(int64)
	if !ok || n < least || n > most {
		f.wrong(name, fmt.Sprintf("an integer from %d to %d", least, most))
	}
	return n
}

func (f *fields) boolean(name string) bool {
	b, ok := f.raw(name).(bool)
	if !ok {
		f.wrong(name, "true or false")
	}
	return b
}

func (f *fields) list(name string, least, most int) []any {
	items, ok := f.raw(name).([]any)
	if !ok || len(items) < least || len(items) > most {
		f.wrong(name, fmt.Sprintf("a list of %d to %d", least, most))
		return nil
	}
	return items
}

// A list of 32-byte ids; ascending: strictly, bytewise.
func (f *fields) ids(name string, least, most int, ascending bool) []id {
	var out []id
	for _, item := range f.list(name, least, most) {
		one, ok := idOf(item)
		if !ok || (ascending && len(out) > 0 && !out[len(out)-1].less(one)) {
			f.wrong(name, "a list of ids in order")
			return nil
		}
		out = append(out, one)
	}
	return out
}

// The first error; one more if the map has a field that nobody asked for.
func (f *fields) end() error {
	if f.err == nil {
		for name := range f.m {
			if !f.seen[name] {
				return fail("BAD_REQUEST", "%s has no field %q", f.what, name)
			}
		}
	}
	return f.err
}

// Frames (§1.2): the length as a minimal varint of 1 to 4 bytes, then the payload.
func frame(payload []byte) []byte {
	return append(binary.AppendUvarint(nil, uint64(len(payload))), payload...)
}

const maxFrame = 1 << 20

func readFrame(in interface{ ReadByte() (byte, error) }, read func([]byte) error) ([]byte, error) {
	length, shift := 0, 0
	for i := 0; ; i++ {
		b, err := in.ReadByte()
		if err != nil {
			return nil, err
		}
		length |= int(b&0x7f) << shift
		shift += 7
		if b < 0x80 {
			if i > 0 && b == 0 {
				return nil, fail("BAD_REQUEST", "a frame length that is not minimal")
			}
			break
		}
		if i == 3 {
			return nil, fail("BAD_REQUEST", "a frame length of more than 4 bytes")
		}
	}
	if length == 0 || length > maxFrame {
		return nil, fail("TOO_LARGE", "a frame of %d bytes", length)
	}
	payload := make([]byte, length)
	return payload, read(payload)
}
