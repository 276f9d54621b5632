package engine

import (
	"reflect"

	"github.com/aoifleet/aoifleet/internal/display"
)

// maxText bounds a text of an answer, in bytes.
const maxText = 64 << 10

// clean makes every text of an answer safe to print: hosts and the server have sent them.
func clean(a *Answer) { cleanValue(reflect.ValueOf(a).Elem()) }

func cleanValue(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if v.CanSet() {
			v.SetString(display.SanitiseText(v.String(), maxText))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			cleanValue(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				cleanValue(v.Field(i))
			}
		}
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return
		}
		for i := range v.Len() {
			cleanValue(v.Index(i))
		}
	case reflect.Map:
		cleanMap(v)
	}
}

// cleanMap replaces a map's elements by clean ones: they can't be set in place.
func cleanMap(v reflect.Value) {
	if v.Len() == 0 || !v.CanSet() {
		return
	}
	fresh := reflect.MakeMap(v.Type())
	for it := v.MapRange(); it.Next(); {
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		key.Set(it.Key())
		value.Set(it.Value())
		cleanValue(key)
		cleanValue(value)
		fresh.SetMapIndex(key, value)
	}
	v.Set(fresh)
}
