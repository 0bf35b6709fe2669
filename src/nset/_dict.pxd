"""``dict.get()`` for the extensions, in C."""

cdef extern from *:
    """
    /* With a reference of our own, which builds without the GIL need. */
    static inline PyObject *nset_dict_get(PyObject *dict, PyObject *key) {
        PyObject *value;
    #if PY_VERSION_HEX >= 0x030D0000
        if (PyDict_GetItemRef(dict, key, &value) < 0) return NULL;
    #else
        value = PyDict_GetItemWithError(dict, key);
        if (value == NULL && PyErr_Occurred()) return NULL;
        Py_XINCREF(value);
    #endif
        return value != NULL ? value : Py_NewRef(Py_None);
    }
    """
    object get "nset_dict_get"(dict mapping, object key)
