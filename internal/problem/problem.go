// Package problem is the one error of this program: of which class it is, what is
// wrong, and what to do about it.
package problem

import (
	"errors"
	"fmt"
)

// Error is why something could not be done. It holds no secret and no control
// character. Its JSON form is part of the contract (docs/reference.md).
type Error struct {
	Class   Class  `json:"class"`
	Message string `json:"message"`        // short, lower case, no full stop
	Hint    string `json:"hint,omitempty"` // the next step; "" where that is plain
	Err     error  `json:"-"`              // the cause, for errors.Is and errors.As; or nil
}

// Base is Error under the name that a richer error embeds it by: an embedded field
// called Error would hide the method.
type Base = Error

// New returns an Error without a cause, its message made as by fmt.Sprintf.
func New(class Class, hint, format string, args ...any) *Error {
	return &Error{Class: class, Message: fmt.Sprintf(format, args...), Hint: hint}
}

// Error returns the message without the hint.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause, or nil.
func (e *Error) Unwrap() error { return e.Err }

// As returns the first Error in the chain of err, nil if there is none.
func As(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// Is tells whether the first Error in the chain of err is of a class.
func Is(err error, class Class) bool {
	e := As(err)
	return e != nil && e.Class == class
}
