# The interface between the reader with the fast path and the protocol, which is made of them.

from cpython.object cimport PyObject
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from nset._core cimport Command

cdef enum:
    NUMBER_OF_SERVICES = 7


cdef extern from *:
    """
    /* What one thread writes and others read: whole, and with no more order than that. */
    #if defined(__GNUC__) || defined(__clang__)
    #define NSET_LOAD(at) __atomic_load_n(at, __ATOMIC_RELAXED)
    #define NSET_STORE(at, value) __atomic_store_n(at, value, __ATOMIC_RELAXED)
    #else
    #define NSET_LOAD(at) (*(at))
    #define NSET_STORE(at, value) (*(at) = (value))
    #endif
    static inline int nset_flag(const volatile int *at) { return NSET_LOAD(at); }
    static inline void nset_set_flag(volatile int *at, int value) { NSET_STORE(at, value); }
    static inline uint64_t nset_count(const volatile uint64_t *at) { return NSET_LOAD(at); }
    static inline void nset_add(volatile uint64_t *at, uint64_t more) {
        NSET_STORE(at, NSET_LOAD(at) + more);  /* one thread alone adds */
    }
    """
    int _flag "nset_flag"(const int* at) noexcept nogil
    void _set_flag "nset_set_flag"(int* at, int value) noexcept nogil
    uint64_t _count "nset_count"(const uint64_t* at) noexcept nogil
    void _add "nset_add"(uint64_t* at, uint64_t more) noexcept nogil


cdef class ServiceEventBase:
    cdef object _assoc
    cdef public object _path  # of which the association is, if it is not known
    cdef public object _context
    cdef public object _seconds
    cdef readonly object _service
    cdef readonly int _context_id
    cdef readonly bytes _command_set
    cdef readonly bint _lacks_data_set
    cdef readonly uint16_t _message_id
    cdef uint16_t _type_id
    cdef int _index
    cdef const unsigned char* _sop_class  # in _command_set, as is _instance
    cdef uint32_t _sop_class_length
    cdef Py_ssize_t _known_sop_class  # index into _SOP_CLASSES, or -1
    cdef const unsigned char* _instance  # or NULL
    cdef uint32_t _instance_length
    cdef object _data_set  # None, bytes, or a BytesIO
    cdef object _request

    cdef int _fill(
        self, int index, const unsigned char* data, size_t length, Command* command, int context_id
    ) except -1
    cdef bytes _uid_of_class(self)


cdef class PduReader:
    cdef public bint decodes_requests
    cdef uint64_t _bytes_received
    cdef uint64_t[NUMBER_OF_SERVICES] _requests_read
    cdef object _event_class
    cdef uint32_t _max_pdu_length
    cdef uint32_t _max_other_length
    cdef size_t _max_data_set_length

    # Received input, to be processed from _offset on, and what has come behind it. _data is never
    # changed, so that pointers into it are valid as long as a reference is held.
    cdef bytes _data
    cdef size_t _offset
    cdef bytes _later
    cdef size_t _later_offset
    cdef bytearray _incomplete  # a partial PDU, of at least _needed bytes
    cdef size_t _needed

    # A P-DATA-TF PDU whose PDVs are processed one by one: its start, next PDV and end in _pdu.
    cdef bytes _pdu
    cdef size_t _pdu_start
    cdef size_t _pdv_start
    cdef size_t _pdu_end

    cdef bint _has_given_up
    cdef int _stage
    cdef bint _skips_data  # in the rest of this PDU
    cdef ServiceEventBase _request
    cdef readonly int context_id
    cdef public dict contexts
    cdef int _other_context  # of other fragments of its data set, or -1
    cdef PyObject* _data_set  # bytes of which _data_set_length have come; not shared
    cdef size_t _data_set_length
    cdef int _empty_fragments
    cdef readonly size_t request_length
    cdef public int pdvs_left

    # A long PDU, processed in pieces: the remaining bytes of it, and of a PDV.
    cdef size_t _long_left
    cdef bint _is_in_pdv
    cdef size_t _pdv_left
    cdef unsigned char _pdv_context
    cdef unsigned char _pdv_header

    cdef object _set_up(
        self,
        uint32_t max_pdu_length,
        uint32_t max_other_length,
        size_t max_data_set_length,
        object event_class,
    )
    cdef size_t _bytes_waiting(self)
    cpdef object feed(self, bytes data)
    cdef object _take_input(self, bytes data, size_t offset)
    cpdef object next(self)
    cdef object _next_pdu(self)
    cdef object _next_piece(self, bytes data)
    cdef object _keep_partial_pdu(self, size_t needed)
    cdef bytes _current_pdu(self, bytes data)
    cdef object _next_pdv(self)
    cdef void _step_over(self, uint32_t length) noexcept
    cdef void _note_command(self, unsigned char header) noexcept
    cdef bint _may_begin_request(self, unsigned char header) noexcept
    cdef int _begin_request(
        self, const unsigned char* data, size_t length, int context_id, Command* command
    ) except -1
    cdef object _request_without_data_set(self)
    cdef object _next_of_data_set(
        self, bytes data, size_t begin, size_t length,
        unsigned char context_id, unsigned char header,
    )
    cdef int _append(self, const unsigned char* fragment, size_t length) except -1
    cdef int _resize(self, size_t size) except -1
    cdef bint _is_of_request(self, int context_id) except -1
    cdef void _end_request(self) noexcept
    cdef size_t _data_set_bytes(self) noexcept
    cdef size_t _bytes_missing(self) except? 0
    cdef size_t _take_fragments(self, const unsigned char* at, size_t size) except? 0


cdef class FastPath(PduReader):
    cdef object _assoc
    cdef tuple _handlers
    cdef public tuple service_classes
    cdef public list pending
    cdef tuple _response_counts  # by service, dicts by status; None before the first one
    cdef public object start_task
    cdef public list outbox
    cdef public object write
    cdef public object send_message
    cdef uint64_t _bytes_sent
    cdef public uint32_t peer_length
    cdef public double last_received
    cdef int _in_data_transfer
    cdef int _observes_messages
    cdef public bint is_busy
    cdef public bint is_mid_message
    cdef public bint is_reading_paused
    cdef int _is_ending
    cdef public bint upper_layer_is_busy
    cdef public object is_logged
    cdef public list user_queue
    cdef public object measure
    cdef bint _is_logged
    cdef int _budget  # of MAX_COST_PER_TURN, in this turn of the loop
    cdef size_t _noted

    cdef object _association(self)
    cdef tuple _handlers_of_services(self)
    cdef object _receive(self, bytes data)
    cdef void _charge(self, size_t received) noexcept
    cdef object _read(self)
    cdef object _read_items(self)
    cdef bint _serve(self, ServiceEventBase event) except -1
    cdef int _respond(self, ServiceEventBase event, object service, object answer) except -1
    cdef bint _may_respond(self) noexcept
    cdef int _send(self, ServiceEventBase event, object code, bytes pdus) except -1
