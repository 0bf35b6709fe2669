// An MPPS SCP on DCMTK's dcmnet, one thread per association: what a C++ toolkit takes for an N-SET.
// It drops each data set unread and answers 0000H. Prints the port, ends with its standard input.
//
// Needs Debian's g++ and libdcmtk-dev; benchmarks/scp.py compiles and runs it, by
//
//   g++ -O2 -pthread -o build/benchmarks/dcmtk_server benchmarks/dcmtk_server.cpp
//       -ldcmnet -ldcmdata -loflog -lofstd
//   TCP_NODELAY=1 build/benchmarks/dcmtk_server

#include <dcmtk/config/osconfig.h>
#include <dcmtk/dcmdata/dcuid.h>
#include <dcmtk/dcmnet/assoc.h>
#include <dcmtk/dcmnet/dcmtrans.h>
#include <dcmtk/dcmnet/dimse.h>
#include <dcmtk/dcmnet/dul.h>
#include <dcmtk/dcmnet/dulstruc.h>
#include <dcmtk/oflog/oflog.h>

#include <arpa/inet.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

static const long MAX_PDU_LENGTH = 16384;

static void fail(const char *what, const OFCondition &condition)
{
    std::fprintf(stderr, "%s: %s\n", what, condition.text());
    std::_Exit(1);
}

static OFCondition answer(T_ASC_Association *association, T_ASC_PresentationContextID context,
                          const T_DIMSE_N_SetRQ &request)
{
    T_DIMSE_Message message;
    std::memset(static_cast<void *>(&message), 0, sizeof message);
    message.CommandField = DIMSE_N_SET_RSP;
    T_DIMSE_N_SetRSP &response = message.msg.NSetRSP;
    response.MessageIDBeingRespondedTo = request.MessageID;
    response.DimseStatus = STATUS_Success;
    response.DataSetType = DIMSE_DATASET_NULL;
    response.opts = O_NSET_AFFECTEDSOPCLASSUID | O_NSET_AFFECTEDSOPINSTANCEUID;
    OFStandard::strlcpy(response.AffectedSOPClassUID, request.RequestedSOPClassUID,
                        sizeof response.AffectedSOPClassUID);
    OFStandard::strlcpy(response.AffectedSOPInstanceUID, request.RequestedSOPInstanceUID,
                        sizeof response.AffectedSOPInstanceUID);
    return DIMSE_sendMessageUsingMemoryData(association, context, &message, NULL, NULL, NULL, NULL);
}

static OFCondition serve_one(T_ASC_Association *association)
{
    T_ASC_PresentationContextID context;
    T_DIMSE_Message message;
    DcmDataset *details = NULL;
    OFCondition done =
        DIMSE_receiveCommand(association, DIMSE_BLOCKING, 0, &context, &message, &details);
    delete details;
    if (done.bad()) return done;
    if (message.CommandField != DIMSE_N_SET_RQ) return DIMSE_BADCOMMANDTYPE;
    if (message.msg.NSetRQ.DataSetType != DIMSE_DATASET_NULL) {
        DIC_UL bytes = 0, pdvs = 0;
        done = DIMSE_ignoreDataSet(association, DIMSE_BLOCKING, 0, &bytes, &pdvs);
        if (done.bad()) return done;
    }
    return answer(association, context, message.msg.NSetRQ);
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

int main()
{
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
