"""Labels for pallets: numbers from the database, ZPL text, and a queue for each printer."""

LOGGER = system.util.getLogger("Labels")
PRINTERS = {
    "Line1": ("10.20.1.51", 9100),
    "Line2": ("10.20.1.52", 9100),
    "Line3": ("10.20.1.53", 9100),
}
COMPANY = "0401234"
TIMEOUT_MS = 3000


def checkDigit(digits):
    """The check digit of an SSCC: weights 3 and 1 from the right."""
    total = 0
    weight = 3
    for digit in reversed(digits):
        total += int(digit) * weight
        weight = 4 - weight
    return str((10 - total % 10) % 10)


def nextSerial(line):
    """A serial number that nobody else has."""
    tx = system.db.beginTransaction("MES")
    try:
        query = "UPDATE pallet_serial SET serial = serial + 1 WHERE line = ?"
        system.db.runPrepUpdate(query, [line], tx=tx)
        query = "SELECT serial FROM pallet_serial WHERE line = ?"
        serial = system.db.runScalarPrepQuery(query, [line], tx=tx)
        system.db.commitTransaction(tx)
        return serial
    except Exception:
        system.db.rollbackTransaction(tx)
        raise
    finally:
        system.db.closeTransaction(tx)


def sscc(serial):
    """The 18 digits of a pallet."""
    digits = "3" + COMPANY + "%09d" % serial
    return digits + checkDigit(digits)


def zpl(order, product, quantity, code):
    """The label as the printer reads it."""
    lines = [
        "^XA",
        "^CI28",
        "^FO40,40^A0N,48,48^FD%s^FS" % product,
        "^FO40,110^A0N,32,32^FDOrder %s^FS" % order,
        "^FO40,160^A0N,32,32^FDQuantity %d^FS" % quantity,
        "^FO40,210^A0N,32,32^FD%s^FS" % system.date.format(system.date.now(), "yyyy-MM-dd HH:mm"),
        "^FO40,280^BY3^BCN,160,Y,N,N^FD00%s^FS" % code,
        "^XZ",
    ]
    return "\n".join(lines)


def send(line, text):
    """Sends text to the printer of a line."""
    from java.net import InetSocketAddress, Socket
    host, port = PRINTERS[line]
    socket = Socket()
    try:
        socket.connect(InetSocketAddress(host, port), TIMEOUT_MS)
        stream = socket.getOutputStream()
        stream.write(text.encode("utf-8"))
        stream.flush()
    finally:
        socket.close()


def savePallet(line, order, code, quantity):
    """Keeps what was printed."""
    params = {
        "line": line,
        "order": order,
        "sscc": code,
        "quantity": quantity,
        "t_stamp": system.date.now(),
    }
    system.db.runNamedQuery("Pallet/Insert", params)


def printPallet(line, order, product, quantity):
    """Prints a label; returns its code, or None if the printer could not be reached."""
    code = sscc(nextSerial(line))
    try:
        send(line, zpl(order, product, quantity, code))
    except Exception as error:
        LOGGER.error("printer of %s: %s" % (line, error))
        return None
    savePallet(line, order, code, quantity)
    LOGGER.info("printed %s on %s" % (code, line))
    return code
