package host

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// MaxFile is the most bytes of a file that is changed.
const MaxFile = 1 << 20

// File is a file on a host: the live certificate, or another that a Change may replace.
type File struct {
	Path, Real string // as configured; with symlinks resolved. Not safe to show, see display.Plain
	Kind       string // file, missing, other, nodir; moved: its folder was replaced during the check
	Folder     string // the identity of its folder: UID:DEVICE:INODE
	Owner      string // user:group
	Mode       string
	Size       int64
	Changed    time.Time
	Digest     string // SHA-256, lower-case hex; "none" if there is no file
	Unsafe     string // a folder of the path that users other than root and the file's owner can write
	Untrusted  string // why a path in the agent's configuration is not trusted; "": it is
	Makeable   bool   // its folder is missing (nodir), and MakeFolder may create it
	Guarded    bool   // non-root users can write a folder of the path; also set if it is Unsafe
	ReadOnly   bool   // not even root can write its folder
}

// Content is a file on a host, with its bytes.
type Content struct {
	File File
	Data []byte // nil: there is no file, or its bytes are not known, see Problem
}

// Problem returns why the file can't or must not be replaced; nil: it can.
func (c *Content) Problem() *problem.Error {
	switch p := c.File.Problem(); {
	case p != nil:
		return p
	case c.File.Kind != "file" || c.Data != nil:
		return nil
	case c.File.Digest == "large":
		return &problem.Error{Class: problem.Configuration, Message: c.File.shown() + " is larger than 1 MiB"}
	}
	return &problem.Error{Class: problem.Drift, Message: c.File.shown() + " was changed while it was read", Hint: "run this again"}
}

// foundFile is what the script reported of a file.
type foundFile struct {
	path    string
	pem     bytes.Buffer
	content []byte // nil: none
	damaged bool   // content is incomplete
	fields  map[string]string
}

// addContent adds a line of the content in base64.
func (file *foundFile) addContent(text string) {
	data, err := base64.StdEncoding.DecodeString(text)
	if file.damaged = file.damaged || err != nil || len(file.content)+len(data) > MaxFile; !file.damaged {
		file.content = append(file.content, data...)
	}
}

// facts returns the file without its bytes.
func (file *foundFile) facts() File {
	get := func(key string) string { return display.Plain(file.fields[key], 4096) }
	f := File{
		Path: file.path, Real: get("real"), Kind: clean(get("kind")), Folder: get("folder"), Digest: "none",
		Makeable: get("kind") == "nodir" && get("makes") != "",
		Unsafe:   get("unsafe"), Untrusted: clean(get("untrusted")), Guarded: get("guarded") != "", ReadOnly: get("readonly") != "",
	}
	if f.Kind != "file" {
		return f
	}
	f.Digest = clean(get("digest"))
	if a := strings.Split(get("attributes"), ":"); len(a) >= 6 {
		f.Owner, f.Mode = clean(a[1]+":"+a[2]), clean(a[3])
		f.Size, _ = strconv.ParseInt(a[4], 10, 64)
		f.Changed = seconds(a[5])
	}
	return f
}

// factsOf returns files without their bytes.
func factsOf(list []*foundFile) (files []File) {
	for _, file := range list {
		files = append(files, file.facts())
	}
	return files
}

// whole returns the file with its bytes, if they have its digest. The host reads the file
// twice: bytes of two states of it have another.
func (file *foundFile) whole() *Content {
	c := &Content{File: file.facts()}
	if sum := sha256.Sum256(file.content); c.File.Kind == "file" && !file.damaged && hex.EncodeToString(sum[:]) == c.File.Digest {
		c.Data = append([]byte{}, file.content...)
	}
	return c
}
