package certificate

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"unicode/utf16"
)

// payload is the DER inside a file and how it was wrapped.
type payload struct {
	der   []byte
	raw   bool // the file was the DER itself, not text
	notes []string
}

var (
	utf8BOM = []byte("\xef\xbb\xbf")
	pemMark = []byte("-----BEGIN ")
)

// unwrap returns the DER in data: raw, or as base64 in any of the shapes that
// editors, mail and shells give it.
func unwrap(data []byte) (payload, *flaw) {
	if len(data) > MaxSize {
		return payload{}, flawed(hintFetch, "is larger than 1 MiB: not a certificate file")
	}
	if isDER(data) {
		return payload{der: data, raw: true, notes: []string{"was raw (binary) PKCS#12; installed as base64"}}, nil
	}
	text, notes := plainText(data)
	if p := foreign(text); p != nil {
		return payload{}, p
	}
	bare, more := strip(text)
	notes = append(notes, more...)
	der, more, p := decodeBase64(text, bare)
	if p != nil {
		return payload{}, p
	}
	if p := wrappedTwice(der); p != nil {
		return payload{}, p
	}
	return payload{der: der, notes: append(notes, more...)}, nil
}

// isDER reports whether data is binary, not text: a SEQUENCE (0x30, which is also the letter
// "0") with a length of more than one byte or with an INTEGER (0x02) in it,
// which no text has.
func isDER(data []byte) bool {
	return len(data) > 2 && data[0] == 0x30 && (data[1] >= 0x80 || data[2] == 0x02)
}

// plainText removes the marks of a text encoding: the agent's decoder wants
// base64 letters only.
func plainText(data []byte) (text []byte, notes []string) {
	if rest, ok := bytes.CutPrefix(data, utf8BOM); ok {
		return rest, []string{"began with a byte order mark; installed without it"}
	}
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xfe")):
		order = binary.LittleEndian
	case bytes.HasPrefix(data, []byte("\xfe\xff")):
		order = binary.BigEndian
	default:
		return data, nil
	}
	var units []uint16
	for rest := data[2:]; len(rest) > 1; rest = rest[2:] {
		units = append(units, order.Uint16(rest))
	}
	return []byte(string(utf16.Decode(units))), []string{"was UTF-16 text; installed as plain ASCII"}
}

// foreign recognises text that is not base64 at all.
func foreign(text []byte) *flaw {
	text = bytes.TrimSpace(text)
	switch {
	case len(text) == 0:
		return flawed(hintFetch, "is empty")
	case bytes.Contains(text, pemMark):
		return foreignPEM(text)
	case text[0] == '{' || text[0] == '[':
		return flawed(hintJSON, "is JSON, not base64: the certificate may be one of its values")
	case text[0] == '<':
		return flawed(hintFetch, "is HTML or XML, not a certificate: a failed download?")
	case text[0] == '"' || text[0] == '\'':
		return flawed(hintUnquote, "has quotes around the base64")
	}
	return nil
}

// foreignPEM returns what the PEM lacks to become a P12.
func foreignPEM(text []byte) *flaw {
	key := bytes.Contains(text, []byte("PRIVATE KEY-----"))
	cert := bytes.Contains(text, []byte("-----BEGIN CERTIFICATE-----"))
	switch {
	case key && cert:
		return flawed(hintFromPEM, "is PEM, not base64 PKCS#12")
	case cert:
		return flawed(hintAddKey, "is a PEM certificate without its private key, not base64 PKCS#12")
	case key:
		return flawed(hintAddCert, "is a PEM private key without its certificate, not base64 PKCS#12")
	case bytes.Contains(text, []byte("CERTIFICATE REQUEST-----")):
		return flawed(hintSubmit, "is a certificate request, not a certificate")
	case bytes.Contains(text, []byte("-----BEGIN PKCS7-----")):
		return flawed(hintAddKey, "is PKCS#7: certificates without a private key")
	}
	return flawed(hintFetch, "is PEM, and holds neither a certificate nor a private key")
}

// strip removes the white space that base64 tools add and the agent's decoder refuses.
func strip(text []byte) (bare []byte, notes []string) {
	bare = make([]byte, 0, len(text))
	for _, b := range text {
		if !isSpace(b) {
			bare = append(bare, b)
		}
	}
	if bytes.ContainsRune(text, '\r') {
		notes = append(notes, "had Windows line ends (CRLF); installed without them")
	}
	switch inner := bytes.TrimSpace(text); {
	case bytes.ContainsAny(inner, "\r\n"):
		notes = append(notes, "was wrapped into lines; installed as one line")
	case len(inner) > len(bare):
		notes = append(notes, "had blanks inside; installed without them")
	case len(inner) < len(text):
		notes = append(notes, "had a newline or blanks around it; installed without them")
	}
	return bare, notes
}

func isSpace(b byte) bool { return b == '\n' || b == '\r' || b == '\t' || b == ' ' }

func isBase64(b byte) bool {
	return b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || b == '+' || b == '/'
}

// decodeBase64 decodes bare (RFC 4648 section 4); text is the original, to
// say where a fault is. Padding may be missing.
func decodeBase64(text, bare []byte) (der []byte, notes []string, p *flaw) {
	body := bytes.TrimRight(bare, "=")
	url := false
	for _, b := range body {
		switch {
		case b == '-' || b == '_':
			url = true
		case !isBase64(b):
			line, column := firstForeign(text)
			return nil, nil, flawed(hintFetch, "is not base64: invalid character in line %d, column %d", line, column)
		}
	}
	if url {
		return nil, nil, flawed(hintURL, "is base64url (it has - or _), not plain base64")
	}
	if len(body)%4 == 1 {
		return nil, nil, flawed(hintFetch, "is truncated: %d base64 characters are no whole number of bytes", len(body))
	}
	der, err := base64.RawStdEncoding.DecodeString(string(body))
	if err != nil {
		return nil, nil, flawed(hintFetch, "is not base64")
	}
	// Stray bits in the last letter are compared too: a strict decoder refuses them.
	if want := base64.StdEncoding.EncodeToString(der); want != string(bare) {
		notes = append(notes, "had missing or odd base64 padding; installed with the right one")
	}
	return der, notes, nil
}

// firstForeign returns where the first character is that is neither white
// space nor in either base64 alphabet. An inner "=" counts: two texts joined.
func firstForeign(text []byte) (line, column int) {
	end := len(bytes.TrimRight(text, "= \t\r\n"))
	line, column = 1, 1
	for _, b := range text[:end] {
		if !isSpace(b) && !isBase64(b) && b != '-' && b != '_' {
			break
		}
		column++
		if b == '\n' {
			line, column = line+1, 1
		}
	}
	return line, column
}

// wrappedTwice recognises text inside the base64, where DER should be.
func wrappedTwice(der []byte) *flaw {
	if len(der) == 0 || isDER(der) {
		return nil
	}
	text, _ := plainText(der)
	if bytes.Contains(text, pemMark) {
		return flawed(hintAllPEM, "is base64 of PEM, not of PKCS#12")
	}
	for _, b := range text {
		if !isBase64(b) && !isSpace(b) && b != '=' {
			return nil
		}
	}
	return flawed(hintDecode, "is base64 encoded twice")
}
