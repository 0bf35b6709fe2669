// An MPPS SCP on DCMTK's dcmnet, one thread per association: what a C++ toolkit takes for a report.
// It answers each N-CREATE and N-SET with 0000H. Prints the port, ends with its standard input.
//
//   dcmtk_server [ignore | read | store DATABASE [NORMAL | FULL] | --version]
//   dcmtk_server decode (implicit | explicit) TIMES
//
// Each data set is dropped, or each value in it visited, or a row of it stored beside that, with
// FULL on the disk. The second form decodes the data set on its standard input, visits each value,
// and prints the microseconds of CPU that this takes.
// Needs Debian's g++, libdcmtk-dev and libsqlite3-dev; benchmarks/dcmtk.py compiles it, by
//
//   g++ -O2 -pthread -o build/benchmarks/dcmtk_server benchmarks/dcmtk_server.cpp
//       -ldcmnet -ldcmdata -loflog -lofstd -lsqlite3
//   TCP_NODELAY=1 build/benchmarks/dcmtk_server

#include <dcmtk/config/osconfig.h>
#include <dcmtk/dcmdata/dcistrmb.h>
#include <dcmtk/dcmdata/dctk.h>
#include <dcmtk/dcmdata/dcuid.h>
#include <dcmtk/dcmnet/assoc.h>
#include <dcmtk/dcmnet/dcmtrans.h>
#include <dcmtk/dcmnet/dimse.h>
#include <dcmtk/dcmnet/dul.h>
#include <dcmtk/dcmnet/dulstruc.h>
#include <dcmtk/oflog/oflog.h>

#include <arpa/inet.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <thread>
#include <vector>

static const long MAX_PDU_LENGTH = 16384;

static bool is_read = false;
static sqlite3 *database = NULL;
static sqlite3_stmt *insertion = NULL;

static void fail(const char *what, const OFCondition &condition)
{
    std::fprintf(stderr, "%s: %s\n", what, condition.text());
    std::_Exit(1);
}

static void fail_on_database()
{
    std::fprintf(stderr, "SQLite: %s\n", sqlite3_errmsg(database));
    std::_Exit(1);
}

static void open_database(const char *path, bool is_on_disk)
{
    if (sqlite3_open(path, &database)
        || sqlite3_exec(database,
                        is_on_disk ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL",
                        NULL, NULL, NULL)
        || sqlite3_exec(database,
                        "PRAGMA journal_mode = WAL; "
                        "CREATE TABLE steps (instance TEXT, status TEXT, ended TEXT, images INTEGER)",
                        NULL, NULL, NULL)
        || sqlite3_prepare_v2(database, "INSERT INTO steps VALUES (?, ?, ?, ?)", -1, &insertion, NULL))
        fail_on_database();
}

static void store(const char *instance, DcmDataset &list)
{
    OFString status, date, time;
    list.findAndGetOFString(DCM_PerformedProcedureStepStatus, status);
    list.findAndGetOFString(DCM_PerformedProcedureStepEndDate, date);
    list.findAndGetOFString(DCM_PerformedProcedureStepEndTime, time);
    unsigned long images = 0;
    DcmSequenceOfItems *series = NULL;
    if (list.findAndGetSequence(DCM_PerformedSeriesSequence, series).good())
        for (unsigned long i = 0; i < series->card(); ++i) {
            DcmSequenceOfItems *referenced = NULL;
            series->getItem(i)->findAndGetSequence(DCM_ReferencedImageSequence, referenced);
            if (referenced != NULL) images += referenced->card();
        }
    date += time;
    sqlite3_bind_text(insertion, 1, instance, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(insertion, 2, status.c_str(), -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(insertion, 3, date.c_str(), -1, SQLITE_TRANSIENT);
    sqlite3_bind_int64(insertion, 4, static_cast<sqlite3_int64>(images));
    if (sqlite3_step(insertion) != SQLITE_DONE || sqlite3_reset(insertion)) fail_on_database();
}

static void visit(DcmDataset &list)
{
    static volatile size_t length = 0;
    DcmStack stack;
    while (list.nextObject(stack, OFTrue).good()) {
        if (!stack.top()->isLeaf()) continue;
        OFString value;
        static_cast<DcmElement *>(stack.top())->getOFStringArray(value);
        length = length + value.length();
    }
}

static double cpu_microseconds()
{
    timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

static void decode(const std::vector<char> &data, E_TransferSyntax syntax)
{
    DcmInputBufferStream input;
    input.setBuffer(data.data(), data.size());
    input.setEos();
    DcmDataset list;
    list.transferInit();
    const OFCondition done = list.read(input, syntax);
    if (done.bad()) fail("the data set can not be decoded", done);
    list.transferEnd();
    visit(list);
}

static void time_decoding(E_TransferSyntax syntax, int times)
{
    std::vector<char> data;
    for (int next; (next = std::getchar()) != EOF;) data.push_back(static_cast<char>(next));
    for (int i = 0; i < times; ++i) decode(data, syntax);  // the first one reads the dictionary
    const double before = cpu_microseconds();
    for (int i = 0; i < times; ++i) decode(data, syntax);
    std::printf("%f\n", (cpu_microseconds() - before) / times);
}

static OFCondition take_data_set(T_ASC_Association *association, const char *instance)
{
    if (!is_read) {
        DIC_UL bytes = 0, pdvs = 0;
        return DIMSE_ignoreDataSet(association, DIMSE_BLOCKING, 0, &bytes, &pdvs);
    }
    T_ASC_PresentationContextID context = 0;
    DcmDataset *list = NULL;
    OFCondition done =
        DIMSE_receiveDataSetInMemory(association, DIMSE_BLOCKING, 0, &context, &list, NULL, NULL);
    if (done.good()) {
        visit(*list);
        if (database != NULL) store(instance, *list);
    }
    delete list;
    return done;
}

template <class Request, class Response>
static const char *agree(const Request &request, const char *sop_class, const char *instance,
                         Response &response)
{
    response.MessageIDBeingRespondedTo = request.MessageID;
    response.DimseStatus = STATUS_Success;
    response.DataSetType = DIMSE_DATASET_NULL;
    OFStandard::strlcpy(response.AffectedSOPClassUID, sop_class, sizeof response.AffectedSOPClassUID);
    OFStandard::strlcpy(response.AffectedSOPInstanceUID, instance,
                        sizeof response.AffectedSOPInstanceUID);
    return instance;
}

static OFCondition serve_one(T_ASC_Association *association)
{
    T_ASC_PresentationContextID context;
    T_DIMSE_Message message, answer;
    DcmDataset *details = NULL;
    OFCondition done =
        DIMSE_receiveCommand(association, DIMSE_BLOCKING, 0, &context, &message, &details);
    delete details;
    if (done.bad()) return done;
    std::memset(static_cast<void *>(&answer), 0, sizeof answer);
    const char *instance;
    T_DIMSE_DataSetType follows;
    if (message.CommandField == DIMSE_N_SET_RQ) {
        const T_DIMSE_N_SetRQ &request = message.msg.NSetRQ;
        answer.CommandField = DIMSE_N_SET_RSP;
        instance = agree(request, request.RequestedSOPClassUID, request.RequestedSOPInstanceUID,
                         answer.msg.NSetRSP);
        answer.msg.NSetRSP.opts = O_NSET_AFFECTEDSOPCLASSUID | O_NSET_AFFECTEDSOPINSTANCEUID;
        follows = request.DataSetType;
    } else if (message.CommandField == DIMSE_N_CREATE_RQ) {
        const T_DIMSE_N_CreateRQ &request = message.msg.NCreateRQ;
        answer.CommandField = DIMSE_N_CREATE_RSP;
        instance = agree(request, request.AffectedSOPClassUID, request.AffectedSOPInstanceUID,
                         answer.msg.NCreateRSP);
        answer.msg.NCreateRSP.opts = O_NCREATE_AFFECTEDSOPCLASSUID | O_NCREATE_AFFECTEDSOPINSTANCEUID;
        follows = request.DataSetType;
    } else {
        return DIMSE_BADCOMMANDTYPE;
    }
    if (follows != DIMSE_DATASET_NULL) {
        done = take_data_set(association, instance);
        if (done.bad()) return done;
    }
    return DIMSE_sendMessageUsingMemoryData(association, context, &answer, NULL, NULL, NULL, NULL);
}

static void serve(T_ASC_Association *association)
{
    OFCondition done;
    while ((done = serve_one(association)).good()) {}
    if (done == DUL_PEERREQUESTEDRELEASE) ASC_acknowledgeRelease(association);
    ASC_dropAssociation(association);
    ASC_destroyAssociation(&association);
}

static bool accept(T_ASC_Association *association)
{
    const char *abstract_syntaxes[] = {UID_ModalityPerformedProcedureStepSOPClass};
    const char *transfer_syntaxes[] = {UID_LittleEndianImplicitTransferSyntax};
    return ASC_acceptContextsWithPreferredTransferSyntaxes(association->params, abstract_syntaxes, 1,
                                                           transfer_syntaxes, 1).good()
        && ASC_acknowledgeAssociation(association).good();
}

static void announce(T_ASC_Network *network)
{
    sockaddr_in address;
    socklen_t length = sizeof address;
    if (getsockname(DUL_networkSocket(network->network), reinterpret_cast<sockaddr *>(&address),
                    &length)) {
        std::perror("getsockname");
        std::_Exit(1);
    }
    std::printf("%d\n", ntohs(address.sin_port));
    std::fflush(stdout);
}

static void end_with_standard_input()
{
    char buffer[256];
    while (read(STDIN_FILENO, buffer, sizeof buffer) > 0) {}
    std::_Exit(0);
}

int main(int count, char **arguments)
{
    const char *job = count > 1 ? arguments[1] : "ignore";
    if (!std::strcmp(job, "--version")) return std::puts("DCMTK " PACKAGE_VERSION) < 0;
    if (!std::strcmp(job, "decode")) {
        time_decoding(!std::strcmp(arguments[2], "implicit") ? EXS_LittleEndianImplicit
                                                            : EXS_LittleEndianExplicit,
                      std::atoi(arguments[3]));
        return 0;
    }
    is_read = std::strcmp(job, "ignore") != 0;
    if (!std::strcmp(job, "store")) {
        open_database(arguments[2], count > 3 && !std::strcmp(arguments[3], "FULL"));
    }
    OFLog::configure(OFLogger::FATAL_LOG_LEVEL);
    dcmDisableGethostbyaddr.set(OFTrue);  // or each association would wait for a name server
    T_ASC_Network *network = NULL;
    OFCondition done = ASC_initializeNetwork(NET_ACCEPTOR, 0, 30, &network);
    if (done.bad()) fail("no network", done);
    announce(network);
    std::thread(end_with_standard_input).detach();
    for (;;) {
        T_ASC_Association *association = NULL;
        done = ASC_receiveAssociation(network, &association, MAX_PDU_LENGTH);
        if (done.good() && accept(association)) {
            std::thread(serve, association).detach();
        } else if (association != NULL) {
            ASC_dropAssociation(association);
            ASC_destroyAssociation(&association);
        }
    }
}
